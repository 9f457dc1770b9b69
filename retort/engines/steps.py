"""The steps of decoding a batch: plain ones, and ones captured as a CUDA graph.

A small model's step on a GPU takes far longer to launch, kernel by kernel from Python, than to compute. A graph is
launched as a whole, but does the same on the same memory each time: the cache has a fixed size, and a mask hides the
rest of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from retort.engines.cache import fixed_cache
from retort.packing import can_share

if TYPE_CHECKING:
    from transformers import DynamicCache, PreTrainedModel

_COLUMNS = 256
"""Columns by which a fixed cache grows: each growth costs a capture, and each step reads all columns there are."""


class Steps(Protocol):
    """A batch that is being decoded."""

    compact_share: float
    """Rows are worth taking out once this share of them has finished."""

    def next(self, token_B: Tensor) -> Tensor:
        """Append a token to each row; scores of the next, (B, vocabulary), valid until the next call."""

    def keep(self, rows: Tensor) -> None:
        """Leave only these rows in the batch."""


class PlainSteps:
    """Steps with a cache that grows.

    Args:
        model: A causal language model.
        cache: Filled by the prompts, which are padded on the left.
        mask: 1 at prompts' tokens and at all columns to come, (B, columns of prompts + of responses).
        positions: Position of the first response token, (B,).
        columns: Columns of the prompts.
    """

    compact_share = 0.25  # copying the cache costs about one step

    def __init__(self, model: PreTrainedModel, cache: DynamicCache, mask: Tensor, positions: Tensor, columns: int):
        self.model, self.cache, self.mask, self.positions, self.filled = model, cache, mask, positions, columns
        self.padded = not bool(mask.all())

    def next(self, token_B: Tensor) -> Tensor:
        """See `Steps`."""
        self.filled += 1
        found: Tensor = self.model(
            input_ids=token_B[:, None],
            attention_mask=self.mask[:, : self.filled] if self.padded else None,
            position_ids=self.positions[:, None],
            past_key_values=self.cache,
            use_cache=True,
        ).logits[:, -1]
        self.positions = self.positions + 1
        return found

    def keep(self, rows: Tensor) -> None:
        """See `Steps`."""
        self.cache.batch_select_indices(rows)
        self.mask, self.positions = self.mask[rows], self.positions[rows]


class GraphSteps:
    """Steps with a cache of fixed size, captured once for each size of batch and cache; arguments as of `PlainSteps`.

    On a CPU the same steps are taken without a graph.
    """

    compact_share = 0.5  # each size of the batch costs a step from Python and a capture

    def __init__(self, model: PreTrainedModel, cache: DynamicCache, mask: Tensor, positions: Tensor, columns: int):
        self.model, self.filled, self.whole = model, columns, mask.bool()
        self.place = torch.tensor([columns], device=mask.device)
        self.pool: Any = torch.cuda.graph_pool_handle() if mask.is_cuda else None
        self._lay_out(self._layers(cache), positions[:, None].clone())

    def _lay_out(self, layers: list[tuple[Tensor, Tensor]], positions: Tensor) -> None:
        """New memory for the step's inputs and cache; the old graph, which knows the old memory, goes."""
        self.graph: torch.cuda.CUDAGraph | None = None
        self.ran = False
        width = min(self.whole.shape[1], -(-(self.filled + 1) // _COLUMNS) * _COLUMNS)
        self.cache = fixed_cache(layers, width, self.place)
        self.positions, self.token = positions, torch.zeros_like(positions)
        seen = self.whole[:, :width] & (torch.arange(width, device=positions.device) < self.filled)
        self.seen = seen[:, None, None]

    def next(self, token_B: Tensor) -> Tensor:
        """See `Steps`."""
        if self.filled == self.seen.shape[-1]:
            self._lay_out(self._layers(self.cache), self.positions)
        self.token.copy_(token_B[:, None])
        self.seen[..., self.filled] = True
        if self.token.is_cuda and self.ran and self.graph is None:
            self._capture()
        if self.graph is not None:
            self.graph.replay()
        else:
            # The first step of a size runs as it is: libraries choose and load their kernels outside of a capture.
            self.logits, self.ran = self._forward(), True
        self.filled += 1
        self.place += 1
        self.positions += 1
        return self.logits

    def keep(self, rows: Tensor) -> None:
        """See `Steps`."""
        self.whole = self.whole[rows]
        kept = [(keys[rows], values[rows]) for keys, values in self._layers(self.cache)]
        self._lay_out(kept, self.positions[rows])

    def _layers(self, cache: Any) -> list[tuple[Tensor, Tensor]]:
        return [(layer.keys[:, :, : self.filled], layer.values[:, :, : self.filled]) for layer in cache.layers]

    def _forward(self) -> Tensor:
        found: Tensor = self.model(
            input_ids=self.token,
            attention_mask=self.seen,
            position_ids=self.positions,
            past_key_values=self.cache,
            use_cache=True,
        ).logits[:, -1]
        return found

    def _capture(self) -> None:
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        stream = torch.cuda.Stream()
        cached = torch.is_autocast_cache_enabled()
        # A cast that autocast remembers from before the capture would not be done again in a replay.
        torch.set_autocast_cache_enabled(False)
        try:
            with torch.cuda.stream(stream):
                graph.capture_begin(pool=self.pool)
                self.logits = self._forward()
                graph.capture_end()
        finally:
            torch.set_autocast_cache_enabled(cached)
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = graph


def decoding_steps(model: PreTrainedModel, cache: DynamicCache, mask: Tensor, positions: Tensor, columns: int) -> Steps:
    """The fastest steps that model and device allow; arguments as of `PlainSteps`."""
    # A model that takes a mask of its own for each token is one that can be told what of a fixed cache is filled.
    kind = GraphSteps if mask.is_cuda and can_share(model) else PlainSteps
    return kind(model, cache, mask, positions, columns)
