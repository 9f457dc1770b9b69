"""Best of n as an entry of `students`: the model that it starts from, answering with a reward beside it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import Any

from retort.config.methods import BestOfConfig
from retort.plugins import Answering, Method, Training

RULE = "best_of.json"
"""File in the student's folder that says how it answers; one that a gate stopped has none, and answers plainly."""


@dataclass(frozen=True)
class BestOfResult:
    """Metrics of a student that is not trained."""

    n: int
    """Samples of which one is the answer."""
    steps: int = 0
    flops: float = 0.0
    """Of training; what answering costs is in the benchmarks' metrics."""


def train(training: Training) -> BestOfResult:
    """Pass on the model, with a file that says how it answers."""
    from retort.io.files import atomic_path, write_json
    from retort.io.rank import is_rank_zero

    config: BestOfConfig = training.settings
    if is_rank_zero():
        with atomic_path(training.out) as folder:
            shutil.copytree(training.start, folder)
            write_json(folder / RULE, {"n": config.n, "temperature": config.temperature})
    return BestOfResult(config.n)


def answer(given: Answering) -> Any:
    """The engine that answers with the best of n, unless a gate stopped the student."""
    if not (given.folder / RULE).exists():
        return given.engine
    from retort.trainers.best_of.engine import BestOf

    config: BestOfConfig = given.settings
    return BestOf(given.engine, given.reward, n=config.n, temperature=config.temperature)


METHOD = Method(
    "best_of",
    BestOfConfig,
    train,
    rewarded=True,
    answer=answer,
    summary="Train nothing: of several samples answer with the one that a reward likes best (best of n).",
    plan="retort.plan.best_of:plan",
    figures=("n",),
)
