"""The engine that answers for a model or student, as its entry of the configuration says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from retort import plugins
from retort.engines.base import Engine
from retort.io.objects import Objects


def make_engine(
    settings: Any,
    folder: Path,
    *,
    place: str,
    root: Path = Path(),
    file: str,
    training: bool,
    store: Callable[[str], Objects | None] | None = None,
) -> Engine:
    """The engine that answers for the model of `folder`, not started yet.

    Args:
        settings: Settings of the engine (`retort.config.models.EngineConfig`).
        folder: Model folder, or folder of a reference.
        place: Where the configuration sets it, for messages: `models.teacher.engine`.
        root: Workspace, from which files are named.
        file: Where the prompts come from, for messages about one of them.
        training: Whether the tokenizer must be fit for training, as a student's.
        store: The run's object store, by folder, for engines that keep something there.

    Raises:
        ModelError: the model cannot be used.
        InputError: recorded responses are missing or malformed.
    """
    kind: plugins.EngineType = plugins.load("engine", settings.type)
    engine: Engine = kind.make(plugins.EngineContext(settings, folder, root, place, file, training, store))
    return engine
