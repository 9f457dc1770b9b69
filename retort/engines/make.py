"""Choosing the engine that a teacher's configuration, or a model folder, asks for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pydantic import TypeAdapter

from retort.config.models import OpenAITeacher, RecordedTeacher, TeacherConfig, TransformersTeacher, VLLMTeacher
from retort.engines.base import Engine
from retort.io.objects import Objects
from retort.modeling.loading import read_reference


def make_engine(
    config: TeacherConfig | None,
    folder: Path,
    *,
    root: Path = Path(),
    file: str,
    training: bool,
    place: str = "teacher",
    store: Callable[[str], Objects | None] | None = None,
) -> Engine:
    """The engine that answers for the model of `folder`, not started yet.

    Args:
        config: The teacher's configuration; None takes what the folder's reference says, or `transformers`.
        folder: Model folder, or folder of a reference.
        root: Workspace, from which a file of recorded responses is named.
        file: Where the prompts come from, for messages about one of them.
        training: Whether the tokenizer must be fit for training, as a student's.
        place: Where the configuration describes the engine, for messages.
        store: The run's object store, by folder, for engines that keep responses there.

    Raises:
        ModelError: the model cannot be used.
        InputError: recorded responses are missing or malformed.
    """
    if config is None:
        stored = read_reference(folder).engine
        config = TypeAdapter(TeacherConfig).validate_python(stored) if stored else None
    if isinstance(config, RecordedTeacher):
        from retort.engines.recorded import RecordedEngine

        return RecordedEngine(root / config.path, config.format)
    if isinstance(config, OpenAITeacher):
        from retort.engines.endpoint import EndpointEngine
        from retort.engines.response_cache import FOLDER

        return EndpointEngine(config, place=place, store=store(FOLDER) if store else None)
    if isinstance(config, VLLMTeacher):
        from retort.engines.vllm import VLLMEngine

        return VLLMEngine(config, folder, place=place)
    assert config is None or isinstance(config, TransformersTeacher), "every type of teacher has an engine"
    from retort.engines.local import LocalEngine

    return LocalEngine(folder, file=file, training=training)
