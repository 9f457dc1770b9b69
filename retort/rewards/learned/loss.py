"""The reward model's loss: binary cross-entropy with the response's label, after its last token or after each.

Legend: B responses; M response tokens of all of them.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits


def class_weights(labels_N: Tensor, setting: str | float) -> tuple[float, float] | None:
    """Weights of labels 0 and 1, of mean 1 over `labels_N`, so that the learning rate means the same under all of them.

    Args:
        labels_N: Labels of the training set; both occur.
        setting: `none`, `balanced` (both classes weigh the same in total) or the weight of 1 relative to 0.

    Returns:
        None for `none`.
    """
    if setting == "none":
        return None
    positive = float(labels_N.sum())
    negative = len(labels_N) - positive
    ratio = negative / positive if setting == "balanced" else float(setting)
    of_negative = len(labels_N) / (negative + ratio * positive)
    return of_negative, ratio * of_negative


def last_token_loss(logits_B: Tensor, labels_B: Tensor, weights: tuple[float, float] | None) -> Tensor:
    """Mean cross-entropy of B responses, each judged once."""
    return binary_cross_entropy_with_logits(logits_B, labels_B, weight=_weight(labels_B, weights))


def every_token_loss(logits_M: Tensor, rows_M: Tensor, labels_B: Tensor, weights: tuple[float, float] | None) -> Tensor:
    """Mean over B responses of the mean cross-entropy of each one's tokens, all asked for the response's label.

    The token-level verifier of Cobbe et al. 2021, §4.3, whose loss is the squared error. A response counts once however
    long it is, so microbatches of a batch add up to it.

    Args:
        logits_M: Logit after each response token.
        rows_M: The response that each belongs to; each has one at least.
        labels_B: Label of each response.
        weights: Weights of labels 0 and 1.
    """
    losses = binary_cross_entropy_with_logits(logits_M, labels_B[rows_M], reduction="none")
    share = 1.0 / torch.bincount(rows_M, minlength=len(labels_B)).to(losses.dtype)
    weight = _weight(labels_B, weights)
    each = share if weight is None else share * weight
    return (losses * each[rows_M]).sum() / len(labels_B)


def _weight(labels_B: Tensor, weights: tuple[float, float] | None) -> Tensor | None:
    return None if weights is None else torch.where(labels_B > 0.5, weights[1], weights[0]).to(labels_B.dtype)
