"""The stage graph: what each stage reads, writes and depends on. `dvc.yaml` and the Kubeflow pipeline both follow it.

Paths are relative to the workspace. `{shard}`, `{model}` and `{benchmark}` stand for the values of a stage's
matrix. A stage may read only what `params` names of the configuration.
"""

from __future__ import annotations

import string
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from retort.config import RetortConfig


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
    code: tuple[str, ...] = ()
    """Modules of the package whose change makes it run again."""


@dataclass(frozen=True)
class Task:
    """One task of a stage: the stage with a value for each key of its matrix."""

    stage: Stage
    values: dict[str, str]

    @property
    def address(self) -> str:
        """Name that DVC gives it: `stage`, `stage@0`, `stage@ppo-heldout`."""
        return "@".join([self.stage.name, *(["-".join(self.values.values())] if self.values else [])])

    @property
    def command(self) -> str:
        """Command that runs it."""
        flags = "".join(f" --{key} {value}" for key, value in self.values.items())
        return f"retort stage {self.stage.name}{flags}"


_ENGINE_CODE = ("engines", "models.py", "chat.py")

STAGES: tuple[Stage, ...] = (
    Stage(
        "prompts",
        params=("seed", "prompts"),
        outs=("outputs/prompts",),
        metrics=("metrics/prompts.json",),
        code=("stages/prompts.py", "data", "tables.py"),
    ),
    Stage(
        "models",
        params=("teacher", "student"),
        outs=("outputs/models/teacher", "outputs/models/base"),
        code=("stages/models.py", "models.py"),
    ),
    Stage(
        "teacher_responses",
        params=("seed", "teacher", "teacher_responses"),
        deps=("outputs/prompts", "outputs/models/teacher"),
        outs=("outputs/teacher_responses/shard-{shard}.parquet",),
        metrics=("metrics/teacher_responses-{shard}.json",),
        matrix=("shard",),
        code=("stages/responses.py", *_ENGINE_CODE),
    ),
    Stage(
        "votes",
        params=("answer", "votes", "teacher_responses.shards"),
        deps=("outputs/prompts", "outputs/teacher_responses/shard-{shard}.parquet"),
        outs=("outputs/votes",),
        metrics=("metrics/votes.json",),
        code=("stages/votes.py", "text"),
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
        code=("stages/sft.py", "sft", "models.py", "chat.py", "text"),
    ),
    Stage(
        "student_responses",
        params=("seed", "student_responses"),
        deps=("outputs/prompts", "outputs/models/sft"),
        outs=("outputs/student_responses/shard-{shard}.parquet",),
        metrics=("metrics/student_responses-{shard}.json",),
        matrix=("shard",),
        code=("stages/responses.py", *_ENGINE_CODE),
    ),
    Stage(
        "reward_data",
        params=("seed", "answer", "reward_data", "teacher_responses.shards", "student_responses.shards"),
        deps=(
            "outputs/prompts",
            "outputs/votes",
            "outputs/teacher_responses/shard-{shard}.parquet",
            "outputs/student_responses/shard-{shard}.parquet",
        ),
        outs=("outputs/reward_data",),
        metrics=("metrics/reward_data.json",),
        code=("stages/reward_data.py", "text"),
    ),
    Stage(
        "reward",
        params=("seed", "reward"),
        deps=("outputs/reward_data", "outputs/models/teacher", "outputs/models/sft"),
        outs=("outputs/models/reward",),
        metrics=("metrics/reward.json",),
        plots=("curves/reward",),
        code=("stages/reward.py", "reward", "models.py", "chat.py"),
    ),
    Stage(
        "ppo",
        params=("seed", "answer", "ppo"),
        deps=(
            "outputs/prompts",
            "outputs/votes",
            "outputs/models/teacher",
            "outputs/models/sft",
            "outputs/models/reward",
        ),
        outs=("outputs/models/ppo",),
        metrics=("metrics/ppo.json",),
        plots=("curves/ppo",),
        code=("stages/ppo.py", "ppo", "reward/model.py", "models.py", "chat.py", "text"),
    ),
    Stage(
        "sft_equal_compute",
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
        code=("stages/sft.py", "sft", "models.py", "chat.py", "text"),
    ),
    Stage(
        "evaluate",
        params=("answer", "evaluate.benchmarks", "evaluate.max_new_tokens", "evaluate.batch_size"),
        deps=("outputs/prompts", "outputs/models/{model}"),
        outs=("outputs/evaluate/{model}-{benchmark}.parquet",),
        metrics=("metrics/evaluate-{model}-{benchmark}.json",),
        matrix=("model", "benchmark"),
        code=("stages/evaluate.py", "evaluation", *_ENGINE_CODE, "text"),
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
        code=("stages/report.py", "report", "evaluation"),
    ),
)
"""Every stage, each after those that it reads from."""

BY_NAME = {stage.name: stage for stage in STAGES}


def matrix_values(config: RetortConfig, stage: Stage) -> dict[str, list[str]]:
    """Values of each matrix key of `stage` under `config`."""
    values = {
        "shard": lambda: [str(shard) for shard in getattr(config, stage.name).shards],
        "model": lambda: list(config.evaluate.models),
        "benchmark": lambda: [benchmark.name for benchmark in config.evaluate.benchmarks],
    }
    return {key: values[key]() for key in stage.matrix}


def tasks(config: RetortConfig, stage: Stage) -> list[Task]:
    """The tasks that `stage` is split into under `config`."""
    values = matrix_values(config, stage)
    return [Task(stage, dict(zip(values, combination, strict=True))) for combination in product(*values.values())]


def source_files(config: RetortConfig, stage: Stage) -> list[str]:
    """Local files and folders outside the graph that `stage` reads under `config`."""
    if stage.name == "prompts":
        names = [
            source.path for source in config.prompts.sources if source.type == "file"
        ] + config.prompts.decontaminate
    elif stage.name == "models":
        names = [config.student.model, getattr(config.teacher, "model", "")]
    elif stage.name == "teacher_responses":
        names = [config.teacher.path] if config.teacher.type == "recorded" else []
    elif stage.name == "evaluate":
        names = [benchmark.path for benchmark in config.evaluate.benchmarks if benchmark.path]
    else:
        names = []
    return sorted({name for name in names if name and Path(name).exists()})


def keys_of(pattern: str) -> set[str]:
    """Matrix keys in a path pattern."""
    return {key for _, key, _, _ in string.Formatter().parse(pattern) if key}


def producers(stage: Stage) -> Iterator[Stage]:
    """The stages that `stage` reads from."""
    for other in STAGES:
        written = (*other.outs, *other.metrics, *other.plots)
        if any(_same_file(need, made) for need in stage.deps for made in written):
            yield other


def _same_file(need: str, made: str) -> bool:
    if "{model}" in need and need.startswith("outputs/models/"):
        return made.startswith("outputs/models/") and not made.endswith("reward")
    return need == made
