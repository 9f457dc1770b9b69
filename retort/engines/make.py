"""The engine that answers for a model or student, as its entry of the configuration says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from retort import plugins
from retort.engines.base import Engine


def make_engine(settings: Any, folder: Path, *, place: str, root: Path = Path(), file: str, training: bool) -> Engine:
    """The engine that answers for the model of `folder`, not started yet.

    Args:
        settings: Settings of the engine (`retort.config.models.EngineConfig`).
        folder: Model folder, or folder of a reference.
        place: Where the configuration sets it, for messages: `models.teacher.engine`.
        root: Workspace, from which files are named.
        file: Where the prompts come from, for messages about one of them.
        training: Whether the tokenizer must be fit for training, as a student's.

    Raises:
        ModelError: the model cannot be used.
        InputError: recorded responses are missing or malformed.
    """
    kind: plugins.EngineType = plugins.load("engine", settings.type)
    engine: Engine = kind.make(plugins.EngineContext(settings, folder, root, place, file, training))
    return engine
