"""What a generation engine is registered as."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel


@dataclass(frozen=True)
class EngineContext:
    """What an engine is made from."""

    settings: Any
    """Its settings, an instance of its configuration class."""
    folder: Path
    """Model folder, or folder of a reference (`retort.modeling.loading`); there for engines that load weights."""
    root: Path
    """Folder that the configuration's paths start from."""
    place: str
    """Where the configuration sets it, for messages: `models.teacher.engine`."""
    file: str
    """Where the prompts come from, for messages about one of them."""
    training: bool
    """Whether the tokenizer must be fit for training, as a student's."""
    store: Callable[[str], Any] | None = None
    """The run's object store, by folder (`retort.io.objects.Objects`, None where there is none), for engines that keep
    something there."""


@dataclass(frozen=True)
class EngineType:
    """A generation engine: one file, one configuration class, one registration in group `retort.engines`."""

    name: str
    """As `engine.type` in the configuration."""
    config: type[BaseModel]
    """Its settings, a `retort.config.models.EngineConfig`."""
    make: Callable[[EngineContext], Any]
    """The engine (`retort.engines.base.Engine`), not started yet. Heavy imports belong inside."""
