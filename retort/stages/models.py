"""Stage `models`: say exactly which teacher and which student a run uses, and refuse those that cannot be used."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retort.config.models import OpenAITeacher, RecordedTeacher, StudentConfig, TransformersTeacher, VLLMTeacher
from retort.errors import ConfigError, ModelError, StorageError
from retort.io.files import content_hash
from retort.modeling.folders import check_config, check_folder
from retort.modeling.loading import Reference, model_config, referenced_tokenizer, write_reference
from retort.modeling.turns import turn_of
from retort.run.stage import Context

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerFast

WithWeights = StudentConfig | TransformersTeacher | VLLMTeacher

_log = logging.getLogger(__name__)

_COMMIT = re.compile(r"[0-9a-f]{40}")
_ENGINE_FIELDS = {
    "openai": {"type", "base_url", "model", "api_key_env", "prompt_cost", "response_cost"},
    "vllm": {"type", "model", "tensor_parallel", "gpu_memory_utilization"},
    "recorded": {"type", "path", "format"},
}
"""What a reference keeps of an engine: what other stages need to ask it and what that costs, not how hard this run may
press it."""


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


@dataclass(frozen=True)
class ModelsResult:
    """The two models of a run."""

    teacher: ModelFacts
    student: ModelFacts
    same_vocabulary: bool


def run(context: Context) -> ModelsResult:
    """Write `outputs/models/teacher` and `outputs/models/base`, each with one reference.

    Raises:
        ConfigError: a folder or chat template does not exist.
        ModelError: pickled weights only; a tokenizer without EOS, chat template or, for the student, a pad token
            of its own; an unknown hub model.
        StorageError: the hub cannot be reached to pin a revision.
    """
    root = context.paths.root
    teacher, teacher_facts = _teacher(context.config.teacher, root)
    student, student_facts = _with_weights(context.config.student, root, training=True)
    write_reference(context.paths.model("teacher"), teacher)
    write_reference(context.paths.model("base"), student)
    same = teacher_facts.vocabulary is not None and teacher_facts.vocabulary == student_facts.vocabulary
    return ModelsResult(teacher_facts, student_facts, same)


def _teacher(
    config: TransformersTeacher | RecordedTeacher | OpenAITeacher | VLLMTeacher, root: Path
) -> tuple[Reference, ModelFacts]:
    if isinstance(config, TransformersTeacher):
        return _with_weights(config, root, training=False)
    engine = config.model_dump(mode="json", include=_ENGINE_FIELDS[config.type])
    if isinstance(config, VLLMTeacher):
        reference, facts = _with_weights(config, root, training=False)
        return Reference(**(vars(reference) | {"engine": engine})), facts
    name = f"recorded:{config.path}" if isinstance(config, RecordedTeacher) else f"openai:{config.model}"
    return Reference(model=name, engine=engine), ModelFacts(name, None, None, None)


def _with_weights(config: WithWeights, root: Path, *, training: bool) -> tuple[Reference, ModelFacts]:
    """The reference of a model that has weights here or on the hub, after checking what can be checked early."""
    folder, served = root / config.model, isinstance(config, VLLMTeacher)
    revision = content = None
    if folder.is_dir():
        check_folder(folder, served=served)
        content = content_hash(folder)
    else:
        revision = _pinned(config.model, config.revision)
    reference = Reference(
        model=config.model,
        revision=revision,
        dtype=config.dtype,
        pad_token=getattr(config, "pad_token", None),
        chat_template=_template(getattr(config, "chat_template", None), root),
        content=content,
    )
    source = str(folder) if folder.is_dir() else config.model
    tokenizer = referenced_tokenizer(reference, source, training=training)
    settings = model_config(reference, source)
    check_config(settings.to_dict(), config.model, training=training, served=served)
    _check_vocabulary(reference, settings, tokenizer)
    remarks = turn_of(tokenizer).remarks
    for remark in remarks:
        _log.warning("%s: of its chat template: %s", config.model, remark)
    return reference, ModelFacts(config.model, revision, content, vocabulary_hash(tokenizer), remarks)


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
