"""A key-value cache that grows in blocks: a decoding step writes one column instead of copying the whole cache."""

from __future__ import annotations

from typing import Any

import torch
from transformers import DynamicCache, PreTrainedConfig
from transformers.cache_utils import DynamicLayer

_BLOCK = 64
"""Columns allocated at a time."""


class BlockLayer(DynamicLayer):
    """One layer's cache with spare columns; `keys` and `values` are views of what is filled."""

    def __init__(self) -> None:
        super().__init__()
        self._key_store = self._value_store = torch.empty(0)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append columns.

        Args:
            key_states: (rows, heads, new columns, head size).
            value_states: The same shape.

        Returns:
            All keys and values so far, (rows, heads, columns, head size).
        """
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        filled = self.get_seq_length()
        end = filled + key_states.shape[-2]
        if self._key_store.numel() == 0 or end > self._key_store.shape[-2]:
            self._key_store = _grown(self.keys if filled else None, key_states, end)
            self._value_store = _grown(self.values if filled else None, value_states, end)
        self._key_store[:, :, filled:end] = key_states
        self._value_store[:, :, filled:end] = value_states
        self.keys, self.values = self._key_store[:, :, :end], self._value_store[:, :, :end]
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep the rows `indices` (a row may be named several times), in that order."""
        if self.get_seq_length() > 0:
            filled = self.get_seq_length()
            self._key_store, self._value_store = self._key_store[indices], self._value_store[indices]
            self.keys, self.values = self._key_store[:, :, :filled], self._value_store[:, :, :filled]


def _grown(old: torch.Tensor | None, new: torch.Tensor, columns: int) -> torch.Tensor:
    rows, heads, _, size = new.shape
    store = new.new_empty(rows, heads, -(-(columns + 1) // _BLOCK) * _BLOCK, size)
    if old is not None:
        store[:, :, : old.shape[-2]] = old
    return store


def block_cache(config: PreTrainedConfig) -> DynamicCache:
    """A cache for a model of `config`; sliding-window layers, which stay short, keep the library's own kind."""
    cache = DynamicCache(config=config)
    cache.layers = [BlockLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    if not cache.layers:
        cache.layer_class_to_replicate = BlockLayer
    return cache
