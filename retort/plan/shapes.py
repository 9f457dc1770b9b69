"""A model's shape without its weights: its configuration, and the model on the meta device."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retort.errors import ModelError
from retort.run.embedded import place

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel


@cache
def shipped() -> dict[str, dict[str, Any]]:
    """Configurations that come with Retort, by hub id; each entry names its source and its parameter count."""
    found = {}
    for file in sorted((files("retort.plan") / "shapes").iterdir(), key=lambda file: file.name):
        entry = json.loads(file.read_text(encoding="utf-8"))
        found.update(dict.fromkeys(entry["models"], entry))
    return found


def model_config(model: str, *, root: Path, revision: str | None = None) -> PreTrainedConfig:
    """Configuration of a model folder, of a shipped shape, or of a hub model, in this order.

    Args:
        model: Folder, taken from `root`, or hub id.
        root: Workspace.
        revision: Commit of the hub repository.

    Raises:
        ModelError: it is neither, and the hub cannot be asked or does not know it.
    """
    from transformers import AutoConfig

    if place(model, root).is_dir():
        return _read(str(place(model, root)), model)
    if model in shipped():
        values = dict(shipped()[model]["config"])
        config: PreTrainedConfig = AutoConfig.for_model(values.pop("model_type"), **values)
        return config
    return _read(model, model, revision=revision)


def _read(source: str, name: str, **options: Any) -> PreTrainedConfig:
    from transformers import AutoConfig

    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(source, **options)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"{name}: its shape is not known here, and its config.json could not be fetched ({type(error).__name__}). "
            "Connect to the hub (and set HF_TOKEN for a gated model), or put its config.json into a folder and name "
            f"that folder as the model. Shapes that need no connection: {', '.join(shipped())}."
        ) from error
    return config


def on_meta(config: PreTrainedConfig, dtype: str = "float32") -> PreTrainedModel:
    """The causal language model of `config` without weights, in evaluation mode."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype))
        model.eval()
    return model
