"""Fully sharded training (FSDP, Zhao et al. 2023; torch's `fully_shard`): each process of a group holds its share.

Weights, their gradients and the optimizer's states are cut along the first dimension over the processes. A decoder
layer's weights are gathered for its forward and for its backward pass and let go again, so that every process has to
compute the same passes in the same order while weights are sharded; where it cannot, they stay `gathered`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils._pytree import tree_map

from retort.config.training import OptimizerConfig
from retort.io.rank import is_rank_zero
from retort.modeling.loading import default_device, save_model
from retort.modeling.process_group import process_group

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast


def is_sharded(config: OptimizerConfig) -> bool:
    """Whether a stage shards what it trains: asked for, and there are processes to share it."""
    return config.sharding == "full_shard" and process_group().size > 1


def decoder_layers(trunk: nn.Module) -> list[nn.Module]:
    """The layers of a language model that are gathered one at a time, as its own code names them."""
    names = set(getattr(trunk, "_no_split_modules", None) or ())
    return [module for module in trunk.modules() if type(module).__name__ in names]


def shard(root: nn.Module, trunk: nn.Module, *, methods: tuple[str, ...] = (), mesh: DeviceMesh | None = None) -> None:
    """Shard `root` in place: each decoder layer of `trunk`, its heads, then the rest.

    Gradients are summed over the processes, not averaged: a loss is divided by the whole minibatch already.

    Args:
        root: What is trained; every pass goes through its `forward`, or one of `methods`.
        trunk: The language model in it, or itself.
        methods: Methods of `root` that compute passes.
        mesh: The processes; the whole group, on its devices, when left out.
    """
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    if mesh is None:
        mesh = init_device_mesh(
            default_device().type, (process_group().size,)
        )  # weights on the CPU go there one by one
    for layer in decoder_layers(trunk):
        fully_shard(layer, mesh=mesh)
    if trunk is not root and (heads := [child for child in root.children() if child is not trunk]):
        fully_shard(heads, mesh=mesh)  # a group of their own: the trunk's weights may be of another type
    fully_shard(root, mesh=mesh)
    for unit in _units(root):
        unit.set_gradient_divide_factor(1.0)
        unit.set_force_sum_reduction_for_comms(True)
    for method in methods:
        register_fsdp_forward_method(root, method)


@contextmanager
def summon_full_params(*roots: nn.Module) -> Iterator[None]:
    """Whole weights on every process in the block: passes without gradient in it may differ from process to process."""
    units = [(unit, unit is not root) for root in roots for unit in _units(root)]
    for unit, _ in units:
        unit.set_reshard_after_forward(False, recurse=False)
        unit.unshard()
    try:
        yield
    finally:
        for unit, reshard in units:
            unit.reshard()
            unit.set_reshard_after_forward(reshard, recurse=False)  # the root's stay from forward to backward


def _units(root: nn.Module) -> list[Any]:
    from torch.distributed.fsdp import FSDPModule

    return [module for module in root.modules() if isinstance(module, FSDPModule)]


def full_state(values: Any, *, everywhere: bool = False) -> Any:
    """`values` (nested) with whole tensors, on the CPU, for sharded ones; every process of the group calls it.

    Args:
        values: Dicts, lists and tuples of tensors and other things; what is not sharded is passed on as it is.
        everywhere: All processes get the tensors; otherwise the first alone, which writes them, and others None.
    """
    found: dict[int, Tensor | None] = {}  # one tensor under two names stays one

    def gather(value: Any) -> Any:
        if not isinstance(value, DTensor):
            return value
        if id(value) not in found:
            full = value.full_tensor().detach()
            found[id(value)] = full.cpu() if everywhere or is_rank_zero() else None
        return found[id(value)]

    return tree_map(gather, values)


def full_state_dict(model: nn.Module) -> dict[str, Tensor] | None:
    """The state dict of a sharded model with whole tensors on the first process; None where nothing is sharded."""
    state = model.state_dict(keep_vars=True)  # a detached copy of tied weights would be two
    if not any(isinstance(value, DTensor) for value in state.values()):
        return None
    found: dict[str, Tensor] = full_state(state)
    return found


def save_full(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """`save_model` of a model that may be sharded: every process of a group calls it, the first one writes."""
    weights = full_state_dict(model)
    if is_rank_zero():
        save_model(model, tokenizer, folder, weights=weights)


def to_local(value: Tensor) -> Tensor:
    """The part of this process of a sharded tensor; another as it is. Nobody has to wait for it."""
    return value.to_local() if isinstance(value, DTensor) else value


def as_dtensor_like(value: Tensor, like: Tensor) -> Tensor:
    """A whole tensor that every process has, where `like` lies: on its device, and cut up if that is sharded."""
    value = value.to(like.device)
    if isinstance(like, DTensor) and not isinstance(value, DTensor):
        return distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None)
    return value


def load_optimizer(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
    """Load a state dict of whole tensors into the optimizer of weights that may be sharded."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state = {
        number: {
            # of the weight's own shape, or a number such as the step
            name: as_dtensor_like(value, parameters[number]) if value.shape == parameters[number].shape else value
            for name, value in values.items()
        }
        for number, values in saved["state"].items()
    }
    optimizer.load_state_dict(saved | {"state": state})
