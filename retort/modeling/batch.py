"""Batches of token ids: prompts with responses, padded, and what is counted of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


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
