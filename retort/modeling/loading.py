"""Model folders: what they must hold, loading them, and saving them as safetensors.

A folder under `outputs/models` is either a Hugging Face model folder or holds one file, `reference.json`, that
names a model elsewhere (a folder or a pinned hub commit). The `models` stage writes references, so that a large
teacher is versioned by its commit and not copied.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retort.errors import ModelError
from retort.io.files import atomic_path, native_writes, write_json

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

REFERENCE = "reference.json"

_GENERIC = ("TokenizersBackend", "PreTrainedTokenizerFast")
"""Tokenizer classes that are wholly described by `tokenizer.json`."""


@dataclass(frozen=True)
class Reference:
    """Where a model is and how to load it."""

    model: str
    revision: str | None = None
    dtype: str = "float32"
    pad_token: str | None = None
    chat_template: str | None = None
    """Text of the template, not its file."""
    content: str | None = None
    """SHA-256 of a local folder's contents, so that the reference changes when the model does."""


def write_reference(folder: Path, reference: Reference) -> None:
    """Make `folder` stand for the model that `reference` names."""
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        write_json(temporary / REFERENCE, asdict(reference))


def read_reference(folder: Path) -> Reference:
    """Where the model of `folder` is: the folder itself, or what its `reference.json` names.

    Raises:
        ModelError: the folder does not exist.
    """
    if not folder.is_dir():
        raise ModelError(f"{folder}: no such model folder. Run the stage that makes it, or correct the path.")
    file = folder / REFERENCE
    if file.exists():
        return Reference(**json.loads(file.read_text(encoding="utf-8")))
    config = (
        json.loads((folder / "config.json").read_text(encoding="utf-8")) if (folder / "config.json").exists() else {}
    )
    return Reference(model=str(folder), dtype=config.get("dtype") or config.get("torch_dtype") or "float32")


def model_source(folder: Path, reference: Reference) -> str:
    """Where to load the model of `folder` from: a folder, found from the workspace that `folder` lies in, or a hub id.

    `folder` is `outputs/models/NAME` of a workspace, and `reference` names a local folder by its path there.
    """
    local = folder.absolute().parent.parent.parent / reference.model
    return str(local) if (folder / REFERENCE).exists() and local.is_dir() else reference.model


def check_folder(folder: Path) -> None:
    """Refuse a local model folder that cannot be used safely.

    Raises:
        ModelError: no config.json, no weights, or only pickled weights, which can run code when loaded.
    """
    if not (folder / "config.json").exists():
        raise ModelError(f"{folder}/config.json: does not exist. Give the folder of a Hugging Face model.")
    if not any(folder.glob("*.safetensors")):
        pickled = sorted(item.name for item in folder.glob("*.bin"))
        if pickled:
            raise ModelError(
                f"{folder}/{pickled[0]}: pickled weights can run code when loaded and are refused. Convert them: "
                "load with transformers and call save_pretrained(FOLDER), which writes safetensors."
            )
        raise ModelError(f"{folder}: holds no *.safetensors weights. Give the folder of a Hugging Face model.")


def load_model(folder: Path, *, device: torch.device | str | None = None, dtype: str | None = None) -> PreTrainedModel:
    """Load the causal language model of `folder`, in evaluation mode.

    Raises:
        ModelError: the folder is missing, has no weights or only pickled ones, or transformers cannot load it.
    """
    import torch
    from transformers import AutoModelForCausalLM

    reference = read_reference(folder)
    source = model_source(folder, reference)
    if Path(source).is_dir():
        check_folder(Path(source))
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            source,
            revision=reference.revision,
            dtype=getattr(torch, dtype or reference.dtype),
            use_safetensors=True,
        )
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{reference.model}: transformers cannot load it: {error}") from error
    loaded: PreTrainedModel = model.to(device or default_device()).eval()
    return loaded


def load_tokenizer(folder: Path, *, training: bool = True) -> PreTrainedTokenizerFast:
    """Load the tokenizer of `folder`, padding on the left.

    Args:
        training: The tokenizer is a student's: it needs a pad token that is not EOS, or the end of a response
            could not be told from padding. A teacher that only generates may pad with EOS.

    Raises:
        ModelError: no tokenizer, no EOS token, no pad token, pad token = EOS (students), or no chat template.
    """
    reference = read_reference(folder)
    return referenced_tokenizer(reference, model_source(folder, reference), training=training)


def referenced_tokenizer(reference: Reference, source: str, *, training: bool = True) -> PreTrainedTokenizerFast:
    """Load the tokenizer of `reference` from `source`, a folder or hub id, with the reference's corrections.

    Raises:
        ModelError: as `load_tokenizer`.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast
    from transformers.models.auto.tokenization_auto import get_tokenizer_config

    try:
        # AutoTokenizer overrides a generic tokenizer by the architecture's own class for some architectures (Qwen2),
        # which splits text otherwise and adds a token that the model has no embedding for.
        generic = get_tokenizer_config(source, revision=reference.revision).get("tokenizer_class") in _GENERIC
        kind: Any = PreTrainedTokenizerFast if generic else AutoTokenizer
        found: Any = kind.from_pretrained(source, revision=reference.revision, padding_side="left")
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{reference.model}: transformers cannot load its tokenizer: {error}") from error
    tokenizer: PreTrainedTokenizerFast = found
    if reference.chat_template is not None:
        tokenizer.chat_template = reference.chat_template
    if reference.pad_token is not None:
        if reference.pad_token not in tokenizer.get_vocab():
            raise ModelError(
                f"{reference.model}: pad_token {reference.pad_token!r} is not in its vocabulary. Name a reserved token."
            )
        tokenizer.pad_token = reference.pad_token
    _check_tokenizer(tokenizer, reference.model, training)
    return tokenizer


def _check_tokenizer(tokenizer: PreTrainedTokenizerFast, name: str, training: bool) -> None:
    where, mend = (
        f"{name}/tokenizer_config.json",
        "Set `pad_token` beside `model` in the configuration to an unused token of its vocabulary.",
    )
    if tokenizer.eos_token_id is None:
        raise ModelError(f"{where}, field 'eos_token': there is none, so no response could ever end. Set one there.")
    if tokenizer.pad_token_id is None:
        if training:
            raise ModelError(f"{where}, field 'pad_token': there is none. {mend}")
        tokenizer.pad_token = tokenizer.eos_token
    if training and tokenizer.pad_token_id == tokenizer.eos_token_id:
        raise ModelError(
            f"{where}, field 'pad_token': it equals EOS, so the end of a response would look like padding. {mend}"
        )
    if not tokenizer.chat_template:
        raise ModelError(
            f"{where}, field 'chat_template': there is none. Set `chat_template` beside `model` to a Jinja file."
        )


def save_model(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    folder: Path,
    *,
    weights: dict[str, Tensor] | None = None,
) -> None:
    """Write model and tokenizer to `folder` as safetensors, atomically.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        folder: Where to; what was there is replaced.
        weights: Its state dict where the model's own is sharded.
    """
    with atomic_path(folder) as temporary, native_writes():
        model.save_pretrained(temporary, state_dict=weights)
        tokenizer.save_pretrained(temporary)


def default_device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def context_length(model: PreTrainedModel) -> int:
    """Longest sequence in tokens that the model was made for."""
    return int(getattr(model.config, "max_position_embeddings", 0) or 2**31)


def model_size(model: PreTrainedModel) -> int:
    """Number of parameters, tied ones counted once."""
    return sum(parameter.numel() for parameter in model.parameters())
