"""Sequences in common rows instead of padding: fewer positions to compute, the same hidden states.

A model reads rows of which each holds several prompts with their responses, one after another. Responses to one prompt
stand behind one copy of it, so K responses cost one prompt and not K; each sees that prompt and itself alone. Longer
rows leave less room unused but cost more attention; the length is chosen by what a pass costs in all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from retort.modeling.abilities import abilities_of, layers_of, text_config

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from retort.modeling.batch import TokenBatch

LONGEST_ROW = 2
"""Rows are at most this many times as long as the longest sequence."""
WIDTHS = 17
"""Lengths of rows that are tried."""


@dataclass(frozen=True)
class Packed:
    """Where the tokens of B sequences stand in R rows of W positions."""

    ids_RW: Tensor
    position_ids_RW: Tensor | None
    """Place of each token in its own sequence; None where every row holds one sequence."""
    attention_mask: Tensor | None
    """Of shape (R, 1, W, W), True where a token is seen, where prompts are shared; 1 at tokens, shape (R, W), for
    models that cannot be packed; else None: by their positions, tokens see what they should."""
    place_BT: Tensor
    """Index of each token in the flattened (R, W); of no meaning at padding."""

    def places(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Index, in the flattened (R, W), of the tokens at `columns` of the sequences `rows`."""
        return self.place_BT[rows, columns]

    def inputs(self) -> dict[str, Any]:
        """Arguments of a forward pass without a cache."""
        return {
            "input_ids": self.ids_RW,
            "attention_mask": self.attention_mask,
            "position_ids": self.position_ids_RW,
            "use_cache": False,
        }


def pack(model: PreTrainedModel, batch: TokenBatch) -> Packed:
    """Put the sequences of `batch` (padded on the right) into the rows that cost a forward pass least."""
    lengths: list[int] = batch.attention_mask_BT.sum(dim=1).tolist()
    able = abilities_of(model)
    if not able.packs:
        width = max(lengths)
        columns = torch.arange(batch.ids_BT.shape[1], device=batch.ids_BT.device)
        rows = torch.arange(len(lengths), device=batch.ids_BT.device)
        mask = batch.attention_mask_BT[:, :width]
        return Packed(batch.ids_BT[:, :width], None, mask, rows[:, None] * width + columns)
    responses: list[int] = batch.response_mask_BT.sum(dim=1).tolist()
    prompts = [whole - response for whole, response in zip(lengths, responses, strict=True)]
    groups = _by_prompt(batch, prompts) if able.shares else [[row] for row in range(len(lengths))]
    return _laid_out(batch, layout(groups, prompts, responses, text_config(model).hidden_size), prompts, responses)


@dataclass(frozen=True)
class Layout:
    """Which sequences share a prompt, and where in the rows such trees stand."""

    trees: list[list[int]]
    places: list[tuple[int, int]]
    """Row and offset of each tree."""
    rows: int
    width: int

    def cost(self, hidden_size: int) -> int:
        """Multiplications of a forward pass, up to a factor.

        A layer's matrices cost a position 12 H^2 (Kaplan et al. 2020, section 2.1, with d_ff = 4 H), its attention over
        W positions, masked ones included, 2 W H.
        """
        return self.rows * self.width * (6 * hidden_size + self.width)


def layout(groups: list[list[int]], prompts: list[int], responses: list[int], hidden_size: int) -> Layout:
    """The rows in which sequences cost a forward pass least, of some lengths of rows that are tried.

    Args:
        groups: Numbers of the sequences that may stand behind one copy of their prompt; each sequence in one group.
        prompts: Tokens of each sequence's prompt.
        responses: Tokens of each sequence's response.
        hidden_size: Of the model.
    """
    longest = max(prompt + response for prompt, response in zip(prompts, responses, strict=True))
    widths = {longest + longest * (LONGEST_ROW - 1) * step // (WIDTHS - 1) for step in range(WIDTHS)}
    found = [_within(width, groups, prompts, responses) for width in sorted(widths)]
    return min(found, key=lambda one: one.cost(hidden_size))


def _within(width: int, groups: list[list[int]], prompts: list[int], responses: list[int]) -> Layout:
    """Trees in rows of at most `width` positions, as few as first fit needs, cut to the fullest row."""
    trees = [tree for group in groups for tree in _trees(group, prompts, responses, width)]
    sizes = [prompts[tree[0]] + sum(responses[row] for row in tree) for tree in trees]
    places = first_fit(sizes, width)
    fullest = max(offset + size for (_, offset), size in zip(places, sizes, strict=True))
    return Layout(trees, places, 1 + max(row for row, _ in places), fullest)


def first_fit(lengths: list[int], width: int) -> list[tuple[int, int]]:
    """Row and offset of each piece: longest first, each into the first row with room (Johnson 1973)."""
    filled: list[int] = []
    places = [(0, 0)] * len(lengths)
    for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        row = next((row for row, end in enumerate(filled) if end + lengths[index] <= width), len(filled))
        if row == len(filled):
            filled.append(0)
        places[index] = (row, filled[row])
        filled[row] += lengths[index]
    return places


def _by_prompt(batch: TokenBatch, prompts: list[int]) -> list[list[int]]:
    """Rows with the same prompt together; an empty prompt predicts nothing, so there is nothing to share."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for row, ids in enumerate(batch.ids_BT.tolist()):
        key = tuple(ids[: prompts[row]]) or (-row - 1,)
        groups.setdefault(key, []).append(row)
    return list(groups.values())


def _trees(group: list[int], prompts: list[int], responses: list[int], width: int) -> list[list[int]]:
    """A group cut into parts of which each, with one prompt, fits a row."""
    room = width - prompts[group[0]]
    places = first_fit([responses[row] for row in group], room)
    parts: dict[int, list[int]] = {}
    for row, (part, _) in zip(group, places, strict=True):
        parts.setdefault(part, []).append(row)
    return list(parts.values())


def _laid_out(batch: TokenBatch, found: Layout, prompts: list[int], responses: list[int]) -> Packed:
    device = batch.ids_BT.device
    trees, width, shape = found.trees, found.width, (found.rows, found.width)
    # For each sequence: where its prompt and its response begin, and the numbers of its tree and of itself.
    starts = torch.zeros(4, len(prompts), dtype=torch.long)
    for number, (tree, (row, offset)) in enumerate(zip(trees, found.places, strict=True)):
        end = row * width + offset + prompts[tree[0]]
        for index in tree:
            starts[:, index] = torch.tensor([row * width + offset, end - prompts[index], number + 1, index + 1])
            end += responses[index]
    prompt_start, response_start, tree_of, own = starts.to(device)
    columns = torch.arange(batch.ids_BT.shape[1], device=device)
    answering = columns >= torch.tensor(prompts, device=device)[:, None]
    place_BT = torch.where(answering, response_start[:, None], prompt_start[:, None]) + columns
    rows, at = batch.attention_mask_BT.nonzero(as_tuple=True)
    where = place_BT[rows, at]
    ids, positions, tree_RW, own_RW = torch.zeros(4, shape[0] * width, dtype=torch.long, device=device)
    ids[where], positions[where], tree_RW[where] = batch.ids_BT[rows, at], at, tree_of[rows]
    own_RW[where] = torch.where(answering[rows, at], own[rows], 0)
    mask = None
    if len(trees) < len(prompts):
        tree_RW, own_RW = tree_RW.view(shape), own_RW.view(shape)
        mask = _mask(tree_RW, own_RW)
    alone = len(trees) == len(prompts) == shape[0]
    # What is left over at a row's end has position 0 again and again: each is a sequence of its own, which none sees.
    # Right of a single sequence anything may stand: no token looks to its right.
    return Packed(ids.view(shape), None if alone else positions.view(shape), mask, place_BT)


def _mask(tree_RW: Tensor, own_RW: Tensor) -> Tensor:
    """True where a token (second last axis) sees another (last axis): none behind it, the prompt's and its own."""
    width = tree_RW.shape[1]
    before = torch.ones(width, width, dtype=torch.bool, device=tree_RW.device).tril()
    same_tree = tree_RW[:, :, None] == tree_RW[:, None, :]
    seen = (own_RW[:, None, :] == 0) | (own_RW[:, :, None] == own_RW[:, None, :])
    return (before & same_tree & seen)[:, None]


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
    hidden: Tensor = layers_of(model)(**packed.inputs()).last_hidden_state
    # index_select adds gradients of one place up in a fixed order; indexing with a tensor does not on several threads.
    return hidden.flatten(0, 1).index_select(0, packed.places(*where_BT.nonzero(as_tuple=True)))
