"""Low-rank adapters (LoRA, Hu et al. 2021) through peft."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retort.config.training import LoraConfig
from retort.modeling.abilities import layers_of

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def with_adapters(model: PreTrainedModel, config: LoraConfig | None) -> Any:
    """`model` with trainable adapters and frozen weights, or as it is where `config` is None."""
    adapters = adapter_settings(config, model)
    if adapters is None:
        return model
    from peft import get_peft_model

    with warnings.catch_warnings():
        # peft 0.21 asks for checkpointing under the name that transformers 5 has given up; nobody here can change that.
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
        return get_peft_model(model, adapters)


class WithoutAdapters:
    """An adapted model as it is without its adapters: a frozen reference that takes no memory of its own.

    Args:
        adapted: Result of `with_adapters`.
    """

    def __init__(self, adapted: Any):
        self.adapted = adapted

    def __call__(self, **inputs: Any) -> Any:
        """A forward pass with the adapters switched off."""
        with self.adapted.disable_adapter():
            return self.adapted(**inputs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.adapted, name)


class WithAdapter:
    """An adapted model as it is with one of its adapters: a frozen trunk that takes no memory but its adapter's.

    Args:
        adapted: Result of `with_adapters`.
        name: The adapter.
    """

    def __init__(self, adapted: Any, name: str):
        self.adapted, self.name = adapted, name

    def base_model(self, **inputs: Any) -> Any:
        """A pass through the layers, without the scores over the vocabulary."""
        with active_adapter(self.adapted, self.name):
            return layers_of(self.adapted.get_base_model())(**inputs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.adapted, name)


@contextlib.contextmanager
def active_adapter(adapted: Any, name: str | None) -> Iterator[None]:
    """Compute with the adapter `name` in the block, its backward passes included; with None nothing changes."""
    if name is None:
        yield
        return
    before = adapted.active_adapter
    adapted.set_adapter(name)
    try:
        yield
    finally:
        adapted.set_adapter(before)


def recompute_activations(*models: torch.nn.Module) -> None:
    """Let gradient checkpointing work in models that are in evaluation mode.

    `transformers` recomputes only layers in training mode; there alone the mode is set, and not in what they hold, so
    that dropout stays off and log-probabilities are those of sampling.
    """
    from transformers.modeling_layers import GradientCheckpointingLayer

    for model in models:
        for module in model.modules():
            if isinstance(module, GradientCheckpointingLayer):
                module.training = True


def is_adapter(folder: Path) -> bool:
    """Whether `folder` holds an adapter and not a whole model."""
    return (folder / "adapter_config.json").exists()


def save_adapter(adapted: Any, folder: Path, *, base: str) -> None:
    """Write the adapter alone; `base` names the model that it belongs to, in place of this machine's path."""
    adapted.peft_config[adapted.active_adapter].base_model_name_or_path = base
    adapted.save_pretrained(folder, save_embedding_layers=False)  # "auto" would look `base` up on the hub
    (folder / "README.md").unlink(missing_ok=True)  # a template of peft's to be filled in by hand


def adapter_targets(model: torch.nn.Module) -> list[str]:
    """Names of the modules of a model without adapters that `all-linear` means: every one that is a plain product.

    Left out are the scores over the vocabulary; routers of experts, which give more than a product; layers of a model's
    eyes and ears, which text never passes; and the last product of Mamba's mixers, whose kernel takes its weight and
    would pass an adapter by.
    """
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D)}
    head = getattr(model, "get_output_embeddings", lambda: None)()
    mixers = {name.removesuffix("conv1d") for name, _ in model.named_modules() if name.endswith(".conv1d")}
    chosen = [
        name
        for name, module in linear.items()
        if not any(word in type(module).__name__ for word in ("Router", "Gate"))
        and module is not head
        and not any(part.startswith(_SENSES) for part in name.split("."))
        and name.removesuffix("out_proj") not in mixers
    ]
    # Short names where they mean the same: an adapter's configuration lists them.
    others = {name.rpartition(".")[2] for name, _ in model.named_modules() if name not in set(chosen)}
    return sorted({last if (last := name.rpartition(".")[2]) not in others else name for name in chosen})


_SENSES = ("vision", "visual", "image", "audio", "multi_modal", "multimodal", "embed_vision", "embed_audio")


def adapter_settings(config: LoraConfig | None, model: torch.nn.Module) -> Any:
    """The configuration as peft's own, for a model that has no adapters yet; or None."""
    if config is None:
        return None
    import peft

    return peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=adapter_targets(model) if config.target_modules == "all-linear" else config.target_modules,
        task_type="CAUSAL_LM",
    )
