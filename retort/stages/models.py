"""Stage `models`: say exactly which models a run starts from, and refuse those that cannot be used."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from retort.config.models import ModelConfig
from retort.config.run import TEACHER
from retort.errors import ConfigError, ModelError, StorageError
from retort.io.files import content_hash
from retort.modeling.folders import check_config, check_folder
from retort.modeling.loading import Reference, model_config, referenced_tokenizer, write_reference
from retort.modeling.turns import turn_of
from retort.run.stage import Context

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerFast

_log = logging.getLogger(__name__)

_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class ModelFacts:
    """What is recorded of one model."""

    model: str
    revision: str | None
    content: str | None
    vocabulary: str | None
    """SHA-256 of the tokenizer's tokens and ids: models with the same one read each other's tokens."""
    chat_template: tuple[str, ...] = ()
    """What its chat template does beside writing turns, and what is trained otherwise than it writes."""
    license: str | None = None
    """As its model card says it; None where that is not known."""


@dataclass(frozen=True)
class ModelsResult:
    """The models of a run."""

    models: dict[str, ModelFacts]
    same_vocabulary: dict[str, bool]
    """Whether each other model reads the teacher's tokens."""


@dataclass(frozen=True)
class Loaded:
    """What was read of a model that has weights."""

    tokenizer: PreTrainedTokenizerFast
    config: PreTrainedConfig


def run(context: Context) -> ModelsResult:
    """Write `outputs/models/NAME`, with one reference, for each model of the configuration.

    Raises:
        ConfigError: a folder or chat template does not exist.
        ModelError: pickled weights only; a tokenizer without EOS, chat template or, for a base of students, a pad token
            of its own; an unknown hub model.
        StorageError: the hub cannot be reached to pin a revision.
    """
    root, models = context.paths.root, context.config.models
    found = {name: _reference(name, config, root) for name, config in models.items()}
    for name, (reference, _) in found.items():  # once every one of them has passed
        write_reference(context.paths.model(name), reference)
    facts = {name: one for name, (_, one) in found.items()}
    read = facts[TEACHER].vocabulary
    same = {name: read is not None and one.vocabulary == read for name, one in facts.items() if name != TEACHER}
    return ModelsResult(facts, same)


def _reference(name: str, config: ModelConfig, root: Path) -> tuple[Reference, ModelFacts]:
    if config.source is not None:
        reference, facts, _ = with_weights(config, config.source, root, training=name != TEACHER)
        return reference, facts
    engine = config.engine.model_dump(mode="json")
    shown = f"{config.engine.type}:{engine.get('model') or engine.get('path') or ''}"
    return Reference(model=shown), ModelFacts(shown, None, None, None)


def with_weights(
    config: ModelConfig, source_name: str, root: Path, *, training: bool, hashed: bool = True
) -> tuple[Reference, ModelFacts, Loaded]:
    """The reference of a model that has weights here or on the hub, after checking what can be checked early.

    Args:
        config: Its entry of `models`.
        source_name: Its source.
        root: Folder that paths start from.
        training: Whether students start from it.
        hashed: Whether a folder's contents are hashed, which the reference needs and a check does not.

    Raises:
        ConfigError, ModelError, StorageError: as `run`.
    """
    folder, served = root / source_name, config.engine.type == "vllm"
    revision = content = None
    if folder.is_dir():
        check_folder(folder, served=served)
        content = content_hash(folder) if hashed else None
    else:
        revision = _pinned(source_name, config.revision)
    reference = Reference(
        model=source_name,
        revision=revision,
        dtype=config.dtype,
        pad_token=config.pad_token,
        chat_template=_template(config.chat_template, root),
        content=content,
    )
    source = str(folder) if folder.is_dir() else source_name
    tokenizer = referenced_tokenizer(reference, source, training=training)
    settings = model_config(reference, source)
    check_config(settings.to_dict(), source_name, training=training, served=served)
    _check_vocabulary(reference, settings, tokenizer)
    remarks = turn_of(tokenizer).remarks
    for remark in remarks:
        _log.warning("%s: of its chat template: %s", source_name, remark)
    licence = _licence(folder) if folder.is_dir() else None
    facts = ModelFacts(source_name, revision, content, vocabulary_hash(tokenizer), remarks, licence)
    return reference, facts, Loaded(tokenizer, settings)


def _licence(folder: Path) -> str | None:
    """The licence in the card of a model's folder; of a hub's model none: its card may change, and be away tomorrow."""
    from huggingface_hub import metadata_load

    card = folder / "README.md"
    try:
        found = (metadata_load(card) or {}).get("license") if card.exists() else None
    except (yaml.YAMLError, ValueError, OSError) as error:
        _log.warning("%s: cannot be read (%s), so the licence is not known", card, error)
        return None
    return found if isinstance(found, str) else None


def vocabulary_hash(tokenizer: PreTrainedTokenizerFast) -> str:
    """SHA-256 of a tokenizer's tokens with their ids."""
    return hashlib.sha256(json.dumps(sorted(tokenizer.get_vocab().items())).encode()).hexdigest()


def _check_vocabulary(reference: Reference, config: PreTrainedConfig, tokenizer: PreTrainedTokenizerFast) -> None:
    rows, last = getattr(config.get_text_config(decoder=True), "vocab_size", None), max(tokenizer.get_vocab().values())
    if rows is not None and last >= rows:
        raise ModelError(
            f"{reference.model}: its tokenizer has a token with id {last}, its model only {rows} embeddings. Use the "
            "tokenizer that the model was trained with, or resize the embeddings (resize_token_embeddings) and save it."
        )


def _template(file: str | None, root: Path) -> str | None:
    if file is None:
        return None
    if not (root / file).is_file():
        raise ConfigError(f"{file}: no such chat template. Give the path of a Jinja file, from the workspace.")
    return (root / file).read_text(encoding="utf-8")


def _pinned(model: str, revision: str | None) -> str:
    """The commit of a hub model: given as one, or what the hub says that `revision` (or main) is now."""
    if model.startswith((".", "/", "~")) or model.count("/") > 1:
        raise ConfigError(f"{model}: no such folder. Correct the path, which is taken from the workspace.")
    if revision is not None and _COMMIT.fullmatch(revision):
        return revision
    from httpx2 import HTTPError
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        info: Any = HfApi().model_info(model, revision=revision, timeout=30)
    except GatedRepoError as error:
        raise ModelError(f"{model}: its licence must be accepted on the hub first, and HF_TOKEN set here.") from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise ModelError(
            f"{model}: neither a folder in this workspace nor a model that the hub shows you. Correct the name, or "
            "set HF_TOKEN for a private one."
        ) from error
    except RevisionNotFoundError as error:
        raise ModelError(
            f"{model}: the hub knows no revision {revision!r} of it. Give a branch, tag or commit."
        ) from error
    except (OSError, HTTPError) as error:
        raise StorageError(
            f"{model}: no such folder, and the hub cannot be reached to pin its revision ({error}). Correct the path, "
            "or connect; or download the model where there is a connection (hf download) and give its folder."
        ) from error
    files = [item.rfilename for item in info.siblings or []]
    if files and not any(file.endswith(".safetensors") for file in files):
        raise ModelError(f"{model}: holds no *.safetensors weights on the hub. Use a model or revision that does.")
    return str(info.sha)
