"""Low-rank adapters (LoRA, Hu et al. 2021) through peft."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from retort.config.training import LoraConfig

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def with_adapters(model: PreTrainedModel, config: LoraConfig | None) -> Any:
    """`model` with trainable adapters and frozen weights, or as it is where `config` is None."""
    adapters = adapter_settings(config)
    if adapters is None:
        return model
    from peft import get_peft_model

    return get_peft_model(model, adapters)


def adapter_settings(config: LoraConfig | None) -> Any:
    """The configuration as peft's own, or None."""
    if config is None:
        return None
    import peft

    return peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=config.target_modules,
        task_type="CAUSAL_LM",
    )
