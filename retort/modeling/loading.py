"""Model folders: what they must hold, loading them, and saving them as safetensors.

A folder under `outputs/models` is either a Hugging Face model folder or holds one file, `reference.json`, that
names a model elsewhere (a folder or a pinned hub commit). The `models` stage writes references, so that a large
teacher is versioned by its commit and not copied.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retort.errors import ModelError
from retort.io.files import atomic_path, native_writes, write_json
from retort.modeling.abilities import check_abilities, text_config
from retort.modeling.folders import check_folder
from retort.modeling.turns import end_ids, turn_of

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

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


def load_model(folder: Path, *, device: torch.device | str | None = None, dtype: str | None = None) -> PreTrainedModel:
    """Load the causal language model of `folder`, in evaluation mode.

    What the architecture can do is found out on a small batch (`retort.modeling.abilities`).

    Raises:
        ModelError: the folder is missing or cannot be used (`check_folder`), or transformers cannot load it.
    """
    import torch

    reference = read_reference(folder)
    source = model_source(folder, reference)
    if Path(source).is_dir():
        check_folder(Path(source))
    try:
        config = model_config(reference, source)
        model: Any = _class_for(config).from_pretrained(
            source,
            revision=reference.revision,
            dtype=getattr(torch, dtype or reference.dtype),
            use_safetensors=True,
        )
    except (ModelError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # what transformers and the packages below it raise for files they cannot use: anything
        raise ModelError(f"{reference.model}: transformers cannot load it: {_words(error)}") from error
    if getattr(model, "is_quantized", False):
        # Its package has put it where it can compute; not every kind can be moved.
        if model.device.type == "cpu" and default_device().type != "cpu":
            model = model.to(device or default_device())
    else:
        model = model.to(device or default_device())
    loaded: PreTrainedModel = model.eval()
    check_abilities(loaded, reference.model)
    return loaded


def described_model(folder: Path) -> PreTrainedModel:
    """The causal language model of `folder` without its weights (on torch's device `meta`), for what others run.

    Its size, context and end tokens are the model's.

    Raises:
        ModelError: the folder is missing, or transformers cannot read its configuration.
    """
    import torch
    from transformers import GenerationConfig

    reference = read_reference(folder)
    source = model_source(folder, reference)
    config = model_config(reference, source)
    try:
        with torch.device("meta"):
            made: Any = _class_for(config).from_config(config)
    except Exception as error:
        raise ModelError(f"{reference.model}: transformers does not know its architecture: {_words(error)}") from error
    with contextlib.suppress(OSError):  # a folder without one
        made.generation_config = GenerationConfig.from_pretrained(source, revision=reference.revision or "main")
    described: PreTrainedModel = made
    return described


def _words(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text if len(text) < 600 else text[:600] + " ..."


def model_config(reference: Reference, source: str) -> PreTrainedConfig:
    """The configuration of a model.

    Raises:
        ModelError: transformers cannot read it.
    """
    from transformers import AutoConfig

    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(source, revision=reference.revision)
    except Exception as error:
        raise ModelError(
            f"{reference.model}/config.json: transformers cannot read it: {_words(error)}. Download it again, or use a "
            "model of an architecture that this transformers knows."
        ) from error
    return config


def _class_for(config: PreTrainedConfig) -> Any:
    """The class that loads a model of `config` with its head over the vocabulary.

    Models that read images too (Mistral 3, Qwen-VL) are no "causal language models" to transformers, but continue text.
    """
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return (
        AutoModelForCausalLM if config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES else AutoModelForImageTextToText
    )


def load_tokenizer(folder: Path, *, training: bool = True) -> PreTrainedTokenizerFast:
    """Load the tokenizer of `folder`, padding on the left.

    Args:
        training: The tokenizer is a student's: it needs a pad token that is not EOS, or the end of a response
            could not be told from padding. A teacher that only generates may pad with EOS.

    Raises:
        ModelError: no tokenizer, no EOS token, no pad token, pad token = EOS (students), no chat template, or one that
            fails or loses what the user asks.
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
    except Exception as error:  # the tokenizers' library raises plain Exception for a broken file
        raise ModelError(
            f"{reference.model}: transformers cannot load its tokenizer: {_words(error)}. Download it again, or use "
            "the tokenizer that the model was trained with."
        ) from error
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
    turn = turn_of(tokenizer)
    if training and tokenizer.pad_token_id in turn.closing:
        raise ModelError(
            f"{where}, field 'pad_token': {tokenizer.pad_token!r} ends an assistant's turn in the chat template, so "
            f"the end of a response would look like padding. {mend}"
        )


def save_model(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    folder: Path,
    *,
    weights: dict[str, Tensor] | None = None,
) -> None:
    """Write model and tokenizer to `folder` as safetensors, atomically.

    Its generation configuration names every token that ends a response, so that other programs stop where Retort does.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        folder: Where to; what was there is replaced.
        weights: Its state dict where the model's own is sharded.
    """
    if model.generation_config is not None and tokenizer.eos_token_id is not None:
        ends = end_ids(tokenizer, model)
        model.generation_config.eos_token_id = ends[0] if len(ends) == 1 else list(ends)
    with atomic_path(folder) as temporary, native_writes():
        model.save_pretrained(temporary, state_dict=weights)
        tokenizer.save_pretrained(temporary)


def default_device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


_CONTEXT = ("max_position_embeddings", "n_positions", "max_sequence_length", "max_seq_len", "seq_length")
"""Names that architectures give to their context's length."""


def context_length(model: PreTrainedModel) -> int:
    """Longest sequence in tokens that the model was made for; very long where it has no limit."""
    return context_of(text_config(model))


def context_of(config: Any) -> int:
    """Longest sequence in tokens that a model of this configuration, of its text part, was made for."""
    return next((int(length) for name in _CONTEXT if (length := getattr(config, name, None))), 2**31)


def model_size(model: PreTrainedModel) -> int:
    """Number of parameters, tied ones counted once."""
    return sum(parameter.numel() for parameter in model.parameters())
