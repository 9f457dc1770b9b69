"""The weights of a policy that are trained: all of them, or its adapter's."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from retort.modeling.fsdp import as_dtensor_like

Weights = dict[str, Tensor]
"""Trained weights by name."""


def trained_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters that are trained, by name; tied ones once."""
    return {name: value for name, value in model.named_parameters() if value.requires_grad}


def snapshot(model: nn.Module) -> Weights:
    """A copy of the trained weights in float32: in bfloat16 an average would not move by small steps."""
    return {name: value.detach().float().clone() for name, value in trained_weights(model).items()}


@torch.no_grad()
def load_weights(model: nn.Module, weights: Weights) -> None:
    """Set the trained weights to `weights`, in the model's own precision."""
    for name, value in trained_weights(model).items():
        value.copy_(as_dtensor_like(weights[name], value))
