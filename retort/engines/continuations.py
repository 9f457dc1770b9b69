"""How probable given continuations are: what multiple-choice tasks of the harness compare."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from retort.io.progress import Progress
from retort.modeling.batch import pad_batch
from retort.modeling.logprobs import length_sorted_batches, scoring_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@torch.inference_mode()
def score_continuations(
    model: PreTrainedModel,
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
    *,
    pad_token_id: int,
    batch_size: int,
) -> list[tuple[float, bool]]:
    """Log-probability of each continuation after its context.

    Args:
        model: A causal language model.
        pairs: Tokens of contexts (none empty) and continuations.
        pad_token_id: Token to fill rows with.
        batch_size: Rows in a batch.

    Returns:
        For each pair the sum of its continuation's log-probabilities in nats, and whether every token of it is the most
        probable one.
    """
    found = [(0.0, True)] * len(pairs)
    lengths = [len(before) + len(after) for before, after in pairs]
    with Progress("log-likelihoods", total=len(pairs), unit="continuations") as progress:
        for index in length_sorted_batches(lengths, batch_size, most_tokens=scoring_tokens(model)):
            batch = pad_batch([pairs[i][0] for i in index], [pairs[i][1] for i in index], pad_token_id)
            batch = batch.to(model.device)
            logits = model(input_ids=batch.ids_BT, attention_mask=batch.attention_mask_BT, use_cache=False).logits
            wanted = batch.response_mask_BT[:, 1:].bool()
            for row, i in enumerate(index):
                scores = logits[row, :-1][wanted[row]].float()
                targets = batch.ids_BT[row, 1:][wanted[row]]
                chosen = scores.gather(1, targets[:, None]).squeeze(1)
                found[i] = (
                    float((chosen - scores.logsumexp(1)).sum()),
                    bool((chosen == scores.max(1).values).all()) if len(targets) else True,
                )
            progress.update(len(index))
    return found
