"""The critic: a trunk of its own and a head that gives the value of every state."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from retort.likelihood import TokenBatch
from retort.reward.features import PREFIX

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Critic(nn.Module):
    """Values of the states in which response tokens are chosen.

    It sees what the reward model sees, of the response so far: the trunk's hidden state and how likely the frozen
    judges find each token. A slip shows in that likelihood at once, so that the advantage falls on the token that
    slipped and not on the whole response.

    Args:
        trunk: Causal language model that the critic starts from and trains.
        judges: Number of judges whose `prefix_features` it is given.
        head_size: Hidden width of its head.
    """

    def __init__(self, trunk: PreTrainedModel, *, judges: int, head_size: int):
        super().__init__()
        self.trunk = trunk
        hidden = int(trunk.config.hidden_size)
        self.from_hidden = nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, head_size))
        self.from_features = nn.Linear(judges * len(PREFIX), head_size)
        self.to_value = nn.Linear(head_size, 1)
        # Zero to begin with: the first advantages are then the rewards, not noise of an untrained layer.
        nn.init.zeros_(self.to_value.weight)
        nn.init.zeros_(self.to_value.bias)

    def head_parameters(self) -> list[nn.Parameter]:
        """Parameters of the head alone."""
        return [p for part in (self.from_hidden, self.from_features, self.to_value) for p in part.parameters()]

    def forward(self, batch: TokenBatch, features_BTF: Tensor) -> Tensor:
        """Values at response tokens, shape (B, T), float32; 0 elsewhere.

        Position t holds the value of the state before token t, read from the hidden state at t - 1.
        """
        hidden = self.trunk.base_model(
            input_ids=batch.ids_BT, attention_mask=batch.attention_mask_BT, use_cache=False
        ).last_hidden_state
        rows, columns = batch.response_mask_BT[:, 1:].nonzero(as_tuple=True)
        seen = self.from_hidden(hidden[rows, columns].float()) + self.from_features(features_BTF[rows, columns + 1])
        values = self.to_value(functional.gelu(seen)).squeeze(1)
        return torch.zeros(batch.ids_BT.shape, dtype=values.dtype, device=values.device).index_put(
            (rows, columns + 1), values
        )
