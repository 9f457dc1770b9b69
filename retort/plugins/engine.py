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
class RolloutContext:
    """What samples from a model in training is made from."""

    settings: Any
    """Its settings (`retort.config.rollouts`)."""
    folder: Path
    """Model folder, or folder of a reference, of what the training starts from."""
    root: Path
    """Folder that the configuration's paths start from."""
    place: str
    """Where the configuration sets it, for messages: `ppo.rollout_engine`."""
    student: str
    """Name of the student."""
    length: int
    """Tokens of the longest prompt with its response."""
    dtype: str
    """Type that the trainer computes in."""
    ends: tuple[int, ...]
    """Tokens that end a response."""
    adapter_rank: int | None = None
    """Rank of the adapter that is trained; None where all weights are."""


@dataclass(frozen=True)
class EngineType:
    """A generation engine: one file, one configuration class, one registration in group `retort.engines`."""

    name: str
    """As `engine.type` in the configuration."""
    config: type[BaseModel]
    """Its settings, a `retort.config.models.EngineConfig`."""
    make: Callable[[EngineContext], Any]
    """The engine (`retort.engines.base.Engine`), not started yet. Heavy imports belong inside."""
    rollouts: Callable[[RolloutContext], Any] | None = None
    """What samples from a model in training (`retort.engines.base.Rollouts`), not started yet; or None where this
    machine lacks what it takes and Retort's own sampler has to do. Left out: the engine cannot."""
