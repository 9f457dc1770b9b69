"""The stage graph: what each stage reads, writes and depends on. `dvc.yaml` and the Kubeflow pipeline both follow it.

Paths are relative to the workspace. `{shard}`, `{model}` and `{benchmark}` stand for the values of a stage's
matrix. A stage may read only what `params` names of the configuration.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from retort.config import RetortConfig
from retort.run.code_hash import closure


@dataclass(frozen=True)
class Stage:
    """One stage of the graph."""

    name: str
    params: tuple[str, ...]
    """What it reads of the configuration: sections, or single keys of one as `section.key`."""
    deps: tuple[str, ...] = ()
    """What it reads of other stages; a pattern with a matrix key of another stage stands for all its values."""
    outs: tuple[str, ...] = ()
    """What it writes, versioned in the object store."""
    metrics: tuple[str, ...] = ()
    """JSON metrics, kept in git."""
    plots: tuple[str, ...] = ()
    """Curves."""
    matrix: tuple[str, ...] = ()
    """Keys over which it is split into tasks."""
    module: str = ""
    """Module of `retort.stages` that runs it, where that is not named like the stage."""

    @property
    def written(self) -> tuple[str, ...]:
        """Everything that it writes."""
        return (*self.outs, *self.metrics, *self.plots)

    def code(self) -> tuple[str, ...]:
        """Files of the package whose change makes it run again, as `retort/...`."""
        return closure(f"retort.stages.{self.module or self.name}")


@dataclass(frozen=True)
class Task:
    """One task of a stage: the stage with a value for each key of its matrix."""

    stage: Stage
    values: dict[str, str]

    @property
    def address(self) -> str:
        """Name that DVC gives it: `stage`, `stage@0`, `stage@ppo-heldout`."""
        return f"{self.stage.name}@{self.item}" if self.values else self.stage.name

    @property
    def item(self) -> str:
        """Its matrix values as one word: `0`, `ppo-heldout`; empty without a matrix."""
        return "-".join(self.values.values())

    @property
    def command(self) -> str:
        """Command that runs it."""
        flags = "".join(f" --{key} {value}" for key, value in self.values.items())
        return f"retort stage {self.stage.name}{flags}"


STAGES: tuple[Stage, ...] = (
    Stage(
        "prompts",
        params=("seed", "prompts"),
        outs=("outputs/prompts",),
        metrics=("metrics/prompts.json",),
    ),
    Stage(
        "models",
        params=("teacher", "student"),
        outs=("outputs/models/teacher", "outputs/models/base"),
        metrics=("metrics/models.json",),
    ),
    Stage(
        "teacher_responses",
        module="responses",
        params=("seed", "teacher", "teacher_responses"),
        deps=("outputs/prompts", "outputs/models/teacher"),
        outs=("outputs/teacher_responses/shard-{shard}.parquet",),
        metrics=("metrics/teacher_responses-{shard}.json",),
        matrix=("shard",),
    ),
    Stage(
        "votes",
        params=("seed", "answer", "votes", "judge", "teacher_responses.shards"),
        deps=("outputs/prompts", "outputs/teacher_responses/shard-{shard}.parquet"),
        outs=("outputs/votes",),
        metrics=("metrics/votes.json",),
    ),
    Stage(
        "sft",
        params=("seed", "answer", "sft", "teacher_responses.shards"),
        deps=(
            "outputs/prompts",
            "outputs/models/base",
            "outputs/teacher_responses/shard-{shard}.parquet",
            "outputs/votes",
        ),
        outs=("outputs/models/sft",),
        metrics=("metrics/sft.json",),
        plots=("curves/sft",),
    ),
    Stage(
        "student_responses",
        module="responses",
        params=("seed", "student_responses"),
        deps=("outputs/prompts", "outputs/models/sft"),
        outs=("outputs/student_responses/shard-{shard}.parquet",),
        metrics=("metrics/student_responses-{shard}.json",),
        matrix=("shard",),
    ),
    Stage(
        "reward_data",
        params=("seed", "answer", "reward_data", "judge", "teacher_responses.shards", "student_responses.shards"),
        deps=(
            "outputs/prompts",
            "outputs/votes",
            "outputs/teacher_responses/shard-{shard}.parquet",
            "outputs/student_responses/shard-{shard}.parquet",
        ),
        outs=("outputs/reward_data",),
        metrics=("metrics/reward_data.json",),
    ),
    Stage(
        "reward",
        params=("seed", "reward"),
        deps=("outputs/reward_data", "outputs/models/teacher", "outputs/models/sft"),
        outs=("outputs/models/reward",),
        metrics=("metrics/reward.json",),
        plots=("curves/reward",),
    ),
    Stage(
        "ppo",
        params=("seed", "answer", "judge", "ppo"),
        deps=(
            "outputs/prompts",
            "outputs/votes",
            "outputs/models/teacher",
            "outputs/models/sft",
            "outputs/models/reward",
            "metrics/reward.json",
        ),
        outs=("outputs/models/ppo",),
        metrics=("metrics/ppo.json",),
        plots=("curves/ppo",),
    ),
    Stage(
        "sft_equal_compute",
        module="sft",
        params=("seed", "answer", "sft", "teacher_responses.shards", "sft_equal_compute"),
        deps=(
            "outputs/prompts",
            "outputs/models/base",
            "outputs/teacher_responses/shard-{shard}.parquet",
            "outputs/votes",
            "metrics/ppo.json",
            "metrics/sft.json",
        ),
        outs=("outputs/models/sft_equal_compute",),
        metrics=("metrics/sft_equal_compute.json",),
        plots=("curves/sft_equal_compute",),
    ),
    Stage(
        "evaluate",
        params=("answer", "judge", "evaluate.benchmarks", "evaluate.max_new_tokens", "evaluate.batch_size"),
        deps=("outputs/prompts", "outputs/models/{model}"),
        outs=("outputs/evaluate/{model}-{benchmark}.parquet",),
        metrics=("metrics/evaluate-{model}-{benchmark}.json",),
        matrix=("model", "benchmark"),
    ),
    Stage(
        "report",
        params=("report", "answer", "evaluate", "teacher_responses.shards", "student_responses.shards"),
        deps=(
            "outputs/prompts",
            "outputs/votes",
            "outputs/models/reward",
            "outputs/models/ppo",
            "outputs/evaluate/{model}-{benchmark}.parquet",
            "metrics/prompts.json",
            "metrics/models.json",
            "metrics/teacher_responses-{shard}.json",
            "metrics/votes.json",
            "metrics/sft.json",
            "metrics/student_responses-{shard}.json",
            "metrics/reward_data.json",
            "metrics/reward.json",
            "metrics/ppo.json",
            "metrics/sft_equal_compute.json",
            "metrics/evaluate-{model}-{benchmark}.json",
            "curves/sft",
            "curves/ppo",
        ),
        outs=("outputs/report",),
    ),
)
"""Every stage, each after those that it reads from."""

BY_NAME = {stage.name: stage for stage in STAGES}

TRAINING = ("sft", "reward", "ppo", "sft_equal_compute")
"""Stages that several processes, GPUs and nodes can share."""


def matrix_values(config: RetortConfig, stage: Stage) -> dict[str, list[str]]:
    """Values of each matrix key of `stage` under `config`."""
    values: dict[str, Callable[[], list[str]]] = {
        "shard": lambda: [str(shard) for shard in getattr(config, stage.name).shards],
        "model": lambda: list(config.evaluate.models),
        "benchmark": lambda: [benchmark.name for benchmark in config.evaluate.benchmarks],
    }
    return {key: values[key]() for key in stage.matrix}


def tasks(config: RetortConfig, stage: Stage) -> list[Task]:
    """The tasks that `stage` is split into under `config`."""
    values = matrix_values(config, stage)
    return [Task(stage, dict(zip(values, combination, strict=True))) for combination in product(*values.values())]


def task_of(stage: Stage, item: str) -> Task:
    """The task of `stage` with these matrix values, written as in its address: `0`, `ppo-heldout`."""
    values = item.split("-") if item else []
    return Task(stage, dict(zip(stage.matrix, values, strict=True)))


def expand(config: RetortConfig, stage: Stage, pattern: str) -> list[str]:
    """Paths that `pattern`, a dependency of `stage`, stands for: all values of another stage's matrix keys.

    Keys of the stage's own matrix are left as they are.
    """
    if not keys_of(pattern) - set(stage.matrix):
        return [pattern]
    maker = next(other for other in STAGES if pattern in other.written)
    return [pattern.format(**task.values) for task in tasks(config, maker)]


def source_files(config: RetortConfig, stage: Stage, root: Path = Path()) -> list[str]:
    """Files and folders from outside the graph that `stage` reads under `config`, as the configuration names them.

    Models and chat templates count only if they exist under `root`: they may be names on the hub.
    """
    if stage.name == "prompts":
        sources = config.prompts.sources
        files = [one.path for one in sources if one.type == "file" or (root / one.path).exists()]
        files += config.prompts.decontaminate
    elif stage.name == "models":
        # What an endpoint calls its model may look like a path, but is none of this project.
        places = [config.student] + ([] if config.teacher.type == "openai" else [config.teacher])
        names = [getattr(place, key, None) for place in places for key in _MODEL_KEYS]
        files = [name for name in names if name and (root / name).exists()]
    elif stage.name == "teacher_responses":
        files = [config.teacher.path] if config.teacher.type == "recorded" else []
    elif stage.name == "evaluate":
        files = [file for benchmark in config.evaluate.benchmarks for file in benchmark.data.values()]
    else:
        files = []
    if stage.name in _JUDGED and config.judge is not None and config.judge.model.type != "openai":
        model = config.judge.model
        files = [*files, model.path if model.type == "recorded" else model.model]
    return sorted(set(files))


_MODEL_KEYS = ("model", "chat_template")
_JUDGED = ("votes", "reward_data", "ppo", "evaluate")
"""Stages that ask the judge, where there is one."""


def keys_of(pattern: str) -> set[str]:
    """Matrix keys in a path pattern."""
    return {key for _, key, _, _ in string.Formatter().parse(pattern) if key}


def producers(stage: Stage) -> Iterator[Stage]:
    """The stages that `stage` reads from."""
    for other in STAGES:
        if any(_same_file(need, made) for need in stage.deps for made in other.written):
            yield other


def _same_file(need: str, made: str) -> bool:
    if "{model}" in need and need.startswith("outputs/models/"):
        return made.startswith("outputs/models/") and not made.endswith("reward")
    return need == made
