"""A cache whose rows can be chosen and joined, and whose columns grow in blocks: a step writes one, copying none."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from transformers import DynamicCache, PreTrainedConfig
from transformers.cache_utils import (
    DummyLayer,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionAndFullAttentionLayer,
    LinearAttentionAndSlidingWindowAttentionLayer,
    LinearAttentionCacheLayerMixin,
    LinearAttentionLayer,
)

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

    def replace(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Hold these keys and values, (rows, heads, columns, head size), instead."""
        end = keys.shape[-2]
        self._key_store, self._value_store = _grown(keys, keys, end), _grown(values, values, end)
        self.keys, self.values = self._key_store[:, :, :end], self._value_store[:, :, :end]

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
    """A cache for a model of `config`; layers that stay short (windows, states) keep the library's own kind."""
    cache = DynamicCache(config=config)
    cache.layers = [BlockLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    if not cache.layers:
        cache.layer_class_to_replicate = BlockLayer
    return cache


def cached_pass(model: Any, cache: DynamicCache, mask: torch.Tensor | None, **inputs: Any) -> Any:
    """A forward pass through a cache.

    Args:
        model: A causal language model.
        cache: What the passes before left; this one adds to it.
        mask: 1 at the columns that a row sees, this pass's own among them, (rows, columns); None if it sees all.
        inputs: `input_ids`, `position_ids` and the like.
    """
    causal = model.get_base_model() if hasattr(model, "peft_config") else model
    name = "cache_params" if "cache_params" in inspect.signature(causal.forward).parameters else "past_key_values"
    columns = inputs["input_ids"].shape[1]
    if not any(isinstance(layer, DynamicLayer) for layer in cache.layers) and cache.layers:
        # Layers that keep a state and no columns are told of what they read now, and of padding alone.
        mask = mask[:, -columns:] if mask is not None and columns > 1 else None
    return model(**inputs, attention_mask=mask, use_cache=True, **{name: cache})


def select_rows(cache: DynamicCache, rows: torch.Tensor) -> None:
    """Keep the rows `rows` of a cache (a row may be named several times), in that order.

    Raises:
        TypeError: a layer is of a kind whose rows are not known.
    """
    for layer in cache.layers:
        _check_kind(layer)
        if isinstance(layer, LinearAttentionCacheLayerMixin):
            for states in (layer.conv_states, layer.recurrent_states):
                states |= {place: state[rows] for place, state in states.items() if state is not None}
        if isinstance(layer, DynamicLayer):
            layer.batch_select_indices(rows)


def join_caches(cache: DynamicCache, other: DynamicCache, columns: int) -> None:
    """Append the rows of `other` to `cache`, both on `columns` columns, right-aligned.

    Columns are added on the left, which the mask hides, or taken off there, where the mask hid them.

    Raises:
        TypeError: a layer is of a kind whose rows are not known.
    """
    for layer, joining in zip(cache.layers, other.layers, strict=True):
        _check_kind(layer)
        if isinstance(layer, LinearAttentionCacheLayerMixin):
            assert isinstance(joining, LinearAttentionCacheLayerMixin), "both caches are of one model"
            for states, more in (
                (layer.conv_states, joining.conv_states),
                (layer.recurrent_states, joining.recurrent_states),
            ):
                states |= {
                    place: torch.cat([state, added])
                    for place, state in states.items()
                    if state is not None and (added := more[place]) is not None
                }
        if isinstance(layer, DynamicLayer) and layer.is_initialized:
            assert isinstance(joining, DynamicLayer), "both caches are of one model"
            assert layer.keys is not None and layer.values is not None, "it is initialized"  # noqa: PT018
            assert joining.keys is not None and joining.values is not None, "so is the other"  # noqa: PT018
            held = columns if not layer.is_sliding else min(columns, layer.sliding_window - 1)  # type: ignore[attr-defined]
            keys = torch.cat([_aligned(layer.keys, held), _aligned(joining.keys, held)])
            values = torch.cat([_aligned(layer.values, held), _aligned(joining.values, held)])
            _store(layer, keys, values)
            if layer.is_sliding:
                layer.cumulative_length = columns


def _store(layer: DynamicLayer, keys: torch.Tensor, values: torch.Tensor) -> None:
    layer.keys, layer.values = keys, values
    if isinstance(layer, BlockLayer):
        layer.replace(keys, values)


def _aligned(states: torch.Tensor, columns: int) -> torch.Tensor:
    """The last `columns` columns of keys or values (rows, heads, columns, size), zeros before the first."""
    missing = columns - states.shape[-2]
    return torch.nn.functional.pad(states, (0, 0, missing, 0)) if missing >= 0 else states[:, :, -missing:]


def _check_kind(layer: Any) -> None:
    if type(layer) not in _KINDS:
        raise TypeError(f"a cache with layers of {type(layer).__name__}")


_KINDS = {
    BlockLayer,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionLayer,
    LinearAttentionAndFullAttentionLayer,
    LinearAttentionAndSlidingWindowAttentionLayer,
    DummyLayer,
}
"""Layers of which all that a row has is known."""
