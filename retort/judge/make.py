"""The engine of the judge that the configuration names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from retort.config.judge import JudgeConfig
from retort.engines.base import Engine
from retort.engines.make import make_engine
from retort.errors import ConfigError
from retort.io.objects import Objects


def judge_engine(config: JudgeConfig, root: Path, *, store: Callable[[str], Objects | None] | None = None) -> Engine:
    """Who judges, not started yet.

    Args:
        config: Section `judge`.
        root: Folder that its paths start from.
        store: The run's object store, by folder, where an endpoint's judgements are kept.

    Raises:
        ConfigError: its folder does not exist.
        ModelError: its model cannot be used.
        InputError: its file of recorded judgements is missing or malformed.
    """
    model = config.model
    folder = root / model.source if model.source is not None else root
    if model.source is not None and not folder.is_dir():
        raise ConfigError(
            f"judge.model.source: {model.source}: no such folder. Download the model and give its folder."
        )
    return make_engine(
        model.engine,
        folder,
        place="judge.model.engine",
        root=root,
        file="the judge's calls",
        training=False,
        store=store,
    )
