"""The critic: a trunk and a head that gives the value of every state."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from retort.modeling.abilities import text_config
from retort.modeling.batch import TokenBatch
from retort.modeling.lora import active_adapter
from retort.modeling.packing import hidden_states

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ADAPTER = "critic"
"""Name of the critic's adapter in a model that it shares with the policy."""


class Critic(nn.Module):
    """Values of the states in which response tokens are chosen.

    It sees what a learned reward sees, of the response so far: the trunk's hidden state and how likely frozen
    models find each token. A slip shows in that likelihood at once, so that the advantage falls on the token that
    slipped and not on the whole response.

    Args:
        trunk: Causal language model that the critic starts from and trains; a model with the adapter `ADAPTER` if
            `shared`.
        features: Number of figures that it is given beside the hidden state, at each token.
        head_size: Hidden width of its head.
        shared: The trunk is the policy's: the critic's are its own adapter in it and the head.
    """

    def __init__(self, trunk: PreTrainedModel, *, features: int, head_size: int, shared: bool = False):
        super().__init__()
        # In a tuple, a shared trunk is not a part of this module: its weights are the policy's to train and to save.
        self._shared = (trunk,) if shared else ()
        self._own = None if shared else trunk
        hidden = int(text_config(trunk).hidden_size)
        self.from_hidden = nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, head_size))
        self.from_features = nn.Linear(features, head_size) if features else None
        self.to_value = nn.Linear(head_size, 1)
        # Zero to begin with: the first advantages are then the rewards, not noise of an untrained layer.
        nn.init.zeros_(self.to_value.weight)
        nn.init.zeros_(self.to_value.bias)

    @property
    def trunk(self) -> Any:
        """The model that gives the hidden states."""
        return self._shared[0] if self._shared else self._own

    def using(self) -> contextlib.AbstractContextManager[None]:
        """Passes through the critic, forward and backward, belong in this block."""
        return active_adapter(self.trunk, ADAPTER if self._shared else None)

    def head_parameters(self) -> list[nn.Parameter]:
        """Parameters of the head alone."""
        parts = (self.from_hidden, self.from_features, self.to_value)
        return [p for part in parts if part is not None for p in part.parameters()]

    def trunk_parameters(self) -> list[nn.Parameter]:
        """Parameters of the trunk that the critic trains."""
        return list(self._adapter().values()) if self._shared else _trainable(self.trunk)

    def trained(self) -> dict[str, nn.Parameter]:
        """Everything that the critic trains, by name."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad} | self._adapter()

    def _adapter(self) -> dict[str, nn.Parameter]:
        if not self._shared:
            return {}
        return {name: p for name, p in self.trunk.named_parameters() if f".{ADAPTER}." in name}

    def forward(self, batch: TokenBatch, features_BTF: Tensor) -> Tensor:
        """Values at response tokens, shape (B, T), float32; 0 elsewhere.

        Position t holds the value of the state before token t, read from the hidden state at t - 1.
        """
        # Inside an adapted model lies the causal model, and in it the layers without the vocabulary's scores.
        causal = self.trunk.get_base_model() if self._shared else self.trunk
        chosen = batch.response_mask_BT[:, 1:].bool()
        rows, columns = chosen.nonzero(as_tuple=True)
        states = hidden_states(causal, batch, functional.pad(chosen, (0, 1))).float()
        seen = self.from_hidden(states)
        if self.from_features is not None:
            seen = seen + self.from_features(features_BTF[rows, columns + 1])
        values = self.to_value(functional.gelu(seen)).squeeze(1).float()
        return torch.zeros(batch.ids_BT.shape, dtype=values.dtype, device=values.device).index_put(
            (rows, columns + 1), values
        )


def _trainable(model: nn.Module) -> list[nn.Parameter]:
    return [p for p in model.parameters() if p.requires_grad]
