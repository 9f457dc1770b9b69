"""Several sequences in one row instead of padding: fewer positions to compute, the same hidden states.

A model reads rows of which each holds whole sequences, one after another; a token sees its own sequence alone. Rows
are as long as the longest sequence, so attention costs a row what it costs padded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from retort.likelihood import TokenBatch

_ATTENTIVE = {"full_attention", "sliding_attention", "chunked_attention"}
"""Kinds of layer that tell packed sequences apart by their positions."""


@dataclass(frozen=True)
class Packed:
    """Where the tokens of B sequences stand in R rows of W positions."""

    ids_RW: Tensor
    position_ids_RW: Tensor | None
    """Place of each token in its own sequence; None where no row holds two sequences."""
    attention_mask_RW: Tensor | None
    """1 at tokens, for models that cannot be packed."""
    row_B: Tensor
    offset_B: Tensor

    def places(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Index, in the flattened (R, W), of the tokens at `columns` of the sequences `rows`."""
        return self.row_B[rows] * self.ids_RW.shape[1] + self.offset_B[rows] + columns

    def inputs(self) -> dict[str, Any]:
        """Arguments of a forward pass without a cache."""
        return {
            "input_ids": self.ids_RW,
            "attention_mask": self.attention_mask_RW,
            "position_ids": self.position_ids_RW,
            "use_cache": False,
        }


def can_pack(model: PreTrainedModel) -> bool:
    """Whether the model tells sequences of one row apart by their positions: decoders with attention alone do."""
    config = model.config
    kinds = set(getattr(config, "layer_types", None) or _ATTENTIVE)
    # Kernels for padding-free batches take one row only.
    kernel = getattr(config, "_attn_implementation", None) in ("sdpa", "eager", "flex_attention")
    return kernel and kinds <= _ATTENTIVE and not getattr(model, "_is_stateful", False)


def pack(model: PreTrainedModel, batch: TokenBatch) -> Packed:
    """Put the sequences of `batch` (padded on the right) into as few rows as first fit, longest first, needs."""
    lengths: list[int] = batch.attention_mask_BT.sum(dim=1).tolist()
    device, width = batch.ids_BT.device, max(lengths)
    packable = can_pack(model)
    places = first_fit(lengths, width) if packable else [(row, 0) for row in range(len(lengths))]
    row_B, offset_B = (torch.tensor(column, device=device) for column in zip(*places, strict=True))
    shape = (max(row for row, _ in places) + 1, width)
    rows, columns = batch.attention_mask_BT[:, :width].nonzero(as_tuple=True)
    ids, positions = torch.zeros(2, *shape, dtype=batch.ids_BT.dtype, device=device)
    ids[row_B[rows], offset_B[rows] + columns] = batch.ids_BT[rows, columns]
    # What is left over at a row's end has position 0 again and again: each is a sequence of its own, which none sees.
    positions[row_B[rows], offset_B[rows] + columns] = columns
    return Packed(
        ids_RW=ids,
        # Right of a single sequence anything may stand: no token looks to its right.
        position_ids_RW=positions if packable and shape[0] < len(lengths) else None,
        attention_mask_RW=None if packable else batch.attention_mask_BT[:, :width],
        row_B=row_B,
        offset_B=offset_B,
    )


def first_fit(lengths: list[int], width: int) -> list[tuple[int, int]]:
    """Row and offset of each sequence: longest first, each into the first row with room (Johnson 1973)."""
    filled: list[int] = []
    places = [(0, 0)] * len(lengths)
    for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        row = next((row for row, end in enumerate(filled) if end + lengths[index] <= width), len(filled))
        if row == len(filled):
            filled.append(0)
        places[index] = (row, filled[row])
        filled[row] += lengths[index]
    return places


def hidden_states(model: PreTrainedModel, batch: TokenBatch, where_BT: Tensor) -> Tensor:
    """Last hidden states at some of a batch's tokens.

    Args:
        model: A causal language model; its head is not computed.
        batch: B rows of T tokens, padded on the right, on the model's device.
        where_BT: True at the N tokens that are asked for, bool; none of them padding.

    Returns:
        Shape (N, hidden size), in the order of `where_BT.nonzero()`.
    """
    packed = pack(model, batch)
    hidden: Tensor = model.base_model(**packed.inputs()).last_hidden_state
    rows, columns = where_BT.nonzero(as_tuple=True)
    return hidden.flatten(0, 1)[packed.places(rows, columns)]
