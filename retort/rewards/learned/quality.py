"""How good a reward model is: discrimination, calibration, and the gate that PPO must pass."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np

from retort.rewards.learned.calibration import calibration_error
from retort.rewards.learned.intervals import figure_intervals


@dataclass(frozen=True)
class Quality:
    """Figures of N scored responses; AUC is null where only one class is present."""

    n: int
    base_rate: float
    """Share of responses with label 1."""
    auc: float | None
    """Probability that a random positive scores above a random negative."""
    accuracy: float
    """Share on the right side of 0.5."""
    brier: float
    """Mean squared error of the probability (Brier 1950)."""
    calibration_error: float
    """Expected calibration error over 15 bins of equal width (Naeini et al. 2015; Guo et al. 2017, eq. 3)."""
    prompts: int | None = None
    """Prompts that the responses answer, where intervals were asked for."""
    intervals: dict[str, list[float]] = field(default_factory=dict)
    """95 % interval `[low, high]` of each figure, prompts resampled; empty where they were not asked for."""


def measure(labels: Sequence[int], scores: Sequence[float], prompts: Sequence[Hashable] | None = None) -> Quality:
    """Measure probabilities against labels, with intervals where the prompt of each response is given.

    Raises:
        ValueError: there is nothing to measure.
    """
    from sklearn.metrics import roc_auc_score

    if not labels:
        raise ValueError("no scored response to measure")
    truth, probability = np.asarray(labels, dtype=float), np.asarray(scores, dtype=float)
    error = calibration_error(truth, probability)
    both = 0 < truth.mean() < 1
    return Quality(
        n=len(truth),
        base_rate=float(truth.mean()),
        auc=float(roc_auc_score(truth, probability)) if both else None,
        accuracy=float(((probability >= 0.5) == truth).mean()),
        brier=float(((probability - truth) ** 2).mean()),
        calibration_error=error,
        prompts=len(set(prompts)) if prompts is not None else None,
        intervals=figure_intervals(truth, probability, prompts, estimated_error=error) if prompts is not None else {},
    )


def gate_reasons(
    quality: Quality,
    *,
    min_auc: float,
    max_calibration_error: float,
    min_per_class: int = 1,
    by_interval: bool = False,
) -> list[str]:
    """Why a reward model must not be optimised against; empty when it may be.

    Args:
        quality: Figures on held-out prompts.
        min_auc: Least AUC.
        max_calibration_error: Greatest expected calibration error.
        min_per_class: Responses that each label must have.
        by_interval: Compare the worse ends of the 95 % intervals instead of the estimates; `quality` must have them.
    """
    if quality.auc is None:
        return [f"all {quality.n} held-out responses have one label: there is nothing to tell apart"]
    auc, error, which = quality.auc, quality.calibration_error, ""
    if by_interval:
        # Where one label is too rare for an interval of the AUC, nothing is known of it.
        auc, error = quality.intervals.get("auc", [0.0])[0], quality.intervals["calibration_error"][1]
        which = " (end of its 95 % interval)"
    reasons = []
    rarer = round(quality.n * min(quality.base_rate, 1 - quality.base_rate))
    if rarer < min_per_class:
        reasons.append(
            f"only {rarer} of {quality.n} held-out responses have the rarer label, fewer than min_per_class "
            f"{min_per_class}: the figures below are mostly chance"
        )
    if auc < min_auc:
        reasons.append(f"AUC {auc:.3f}{which} on held-out prompts is below min_auc {min_auc}")
    if error > max_calibration_error:
        reasons.append(f"calibration error {error:.3f}{which} on held-out prompts exceeds {max_calibration_error}")
    return reasons
