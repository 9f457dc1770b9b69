"""Log-probabilities of given responses under a causal language model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MOST_SCORES = 2**30
"""Scores (tokens x vocabulary) of a forward pass without gradient: 2 bytes each in bfloat16, and twice 4 while those
of response tokens are normalised in float32, make 10 GiB at most."""


@dataclass(frozen=True)
class TokenBatch:
    """Prompts with responses, padded on the right; B rows of T positions.

    Position t of `response_mask_BT` speaks of the t-th token of `ids_BT`, which the model predicts at t - 1.
    """

    ids_BT: Tensor
    attention_mask_BT: Tensor
    """1 at prompt and response tokens."""
    response_mask_BT: Tensor
    """1 at response tokens, the end token included."""

    def to(self, device: torch.device) -> TokenBatch:
        """The same batch on another device."""
        return TokenBatch(self.ids_BT.to(device), self.attention_mask_BT.to(device), self.response_mask_BT.to(device))

    def rows(self, index: Tensor) -> TokenBatch:
        """Some of the rows, cut to the longest of them."""
        length = int(self.attention_mask_BT[index].sum(dim=1).max())
        return TokenBatch(
            self.ids_BT[index, :length], self.attention_mask_BT[index, :length], self.response_mask_BT[index, :length]
        )


def pad_batch(prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]], pad_token_id: int) -> TokenBatch:
    """Join prompts and responses (token ids) and pad them on the right."""
    length = max(len(prompt) + len(response) for prompt, response in zip(prompts, responses, strict=True))
    ids = torch.full((len(prompts), length), pad_token_id)
    attention, mask = torch.zeros_like(ids), torch.zeros_like(ids)
    for row, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        end = len(prompt) + len(response)
        ids[row, :end] = torch.tensor([*prompt, *response])
        attention[row, :end] = 1
        mask[row, len(prompt) : end] = 1
    return TokenBatch(ids, attention, mask)


def token_logprobs(
    model: PreTrainedModel, batch: TokenBatch, *, temperature: float = 1.0, entropy: bool = False
) -> tuple[Tensor, Tensor]:
    """Log-probability of each response token, and the entropy of its distribution if asked.

    Args:
        model: A causal language model.
        batch: B rows of T tokens on the model's device.
        temperature: Logits are divided by it, as in sampling.
        entropy: Compute the entropies too (without gradient).

    Returns:
        Log-probabilities and entropies in nats, shape (B, T) in float32; 0 where the response mask is 0.
    """
    logits = model(input_ids=batch.ids_BT, attention_mask=batch.attention_mask_BT, use_cache=False).logits
    # Only the positions that predict a response token are normalised: prompts can be far longer than responses.
    rows, columns = batch.response_mask_BT[:, 1:].nonzero(as_tuple=True)
    picked = logits[rows, columns].float() / temperature
    targets = batch.ids_BT[rows, columns + 1]
    found = picked.gather(1, targets[:, None]).squeeze(1) - picked.logsumexp(dim=1)
    shape = batch.ids_BT.shape
    logprobs = torch.zeros(shape, dtype=torch.float32, device=logits.device).index_put((rows, columns + 1), found)
    entropies = torch.zeros(shape, dtype=torch.float32, device=logits.device)
    if entropy:
        with torch.no_grad():
            logp = picked.log_softmax(dim=1)
            entropies[rows, columns + 1] = -(logp.exp() * logp).sum(dim=1)
    return logprobs, entropies


def length_sorted_batches(
    lengths: Sequence[int], batch_size: int, *, most_tokens: int | None = None
) -> Iterator[list[int]]:
    """Indices in batches of similar length, longest first, so that a batch holds little padding.

    Args:
        lengths: Length of each row.
        batch_size: Rows in a batch.
        most_tokens: Tokens in a batch, padding included; one row at least is always in it.
    """
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    start = 0
    while start < len(order):
        fitting = batch_size if most_tokens is None else max(1, most_tokens // max(1, lengths[order[start]]))
        end = start + min(batch_size, fitting)
        yield order[start:end]
        start = end


def scoring_tokens(model: PreTrainedModel) -> int:
    """Tokens of a forward pass without gradient whose scores over the vocabulary fit in memory."""
    return MOST_SCORES // int(model.config.vocab_size)


@torch.inference_mode()
def response_logprobs(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    *,
    pad_token_id: int,
    temperature: float = 1.0,
    batch_size: int = 64,
) -> list[Tensor]:
    """Log-probability of each response's tokens: one float32 tensor a response, on the CPU, in the order given."""
    found: list[Tensor] = [torch.empty(0)] * len(prompts)
    lengths = [len(prompt) + len(response) for prompt, response in zip(prompts, responses, strict=True)]
    for index in length_sorted_batches(lengths, batch_size, most_tokens=scoring_tokens(model)):
        batch = pad_batch([prompts[i] for i in index], [responses[i] for i in index], pad_token_id).to(model.device)
        logprobs, _ = token_logprobs(model, batch, temperature=temperature)
        for row, i in enumerate(index):
            found[i] = logprobs[row][batch.response_mask_BT[row].bool()].cpu()
    return found
