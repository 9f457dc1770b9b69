"""The critic: a trunk of its own with a value for every position."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from retort.likelihood import TokenBatch

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Critic(nn.Module):
    """Values of the states in which response tokens are chosen.

    Args:
        trunk: Causal language model that the critic starts from and trains.
        mean: Value given before any training, such as the mean reward.
    """

    def __init__(self, trunk: PreTrainedModel, *, mean: float = 0.0):
        super().__init__()
        self.trunk = trunk
        self.head = nn.Sequential(nn.LayerNorm(int(trunk.config.hidden_size)), nn.Linear(trunk.config.hidden_size, 1))
        last = self.head[1]
        assert isinstance(last, nn.Linear)
        # A constant to begin with: the first advantages are then the rewards, not noise of an untrained layer.
        nn.init.zeros_(last.weight)
        nn.init.constant_(last.bias, mean)

    def forward(self, batch: TokenBatch) -> Tensor:
        """Values at response tokens, shape (B, T), float32; 0 elsewhere.

        Position t holds the value of the state before token t, read from the hidden state at t - 1.
        """
        hidden = self.trunk.base_model(
            input_ids=batch.ids_BT, attention_mask=batch.attention_mask_BT, use_cache=False
        ).last_hidden_state
        values = self.head(hidden[:, :-1].float()).squeeze(-1)
        shifted = torch.cat([torch.zeros_like(values[:, :1]), values], dim=1)
        return shifted * batch.response_mask_BT
