"""Runs side by side: which of them differ in their seed alone, and what each model of a run cost to make."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from retort.config import RetortConfig, load_config, resolved
from retort.config.base import unknown
from retort.errors import ConfigError, InputError
from retort.io.tables import RESULTS, Rows, read_table
from retort.run.graph import Graph, Task
from retort.run.paths import CODE, Paths
from retort.run.tasks import graph

_NO_ARM = ("seed", "report")
"""What tells two runs of one arm apart: the seed, and what the page looks like."""
_NOT_MAKING = ("evaluate", "report")


@dataclass(frozen=True)
class Spent:
    """What it took to make a model, with all that it was made from."""

    teacher_tokens: int
    """Prompt and response tokens of the teacher's answers."""
    flops: float
    """Sampling, scoring and training, apart from the teacher's answers."""
    seconds: float | None
    """Wall time of the tasks, one after another, the teacher's included; None where the run does not say."""


@dataclass(frozen=True)
class Run:
    """A finished run in its workspace."""

    root: Path
    config: RetortConfig

    @classmethod
    def read(cls, root: Path) -> Run:
        """The run in the workspace `root`.

        Raises:
            InputError: `root` is no workspace.
            ConfigError: its configuration is wrong.
        """
        file = root / "params.yaml"
        if not file.exists():
            remedy = "Give folders of runs, such as `runs/demo`, or two tables of results"
            raise InputError("does not exist, so this is no run", file=file, remedy=remedy)
        return cls(root, load_config(file, root=root))

    @cached_property
    def graph(self) -> Graph:
        """Its tasks."""
        return graph(self.config, self.root)

    @cached_property
    def code(self) -> dict[str, str]:
        """Hash of the code that made each task's outputs; empty where the workspace does not say."""
        file = self.root / CODE
        return (yaml.safe_load(file.read_text(encoding="utf-8")) or {}) if file.exists() else {}

    def arm(self) -> str:
        """Everything that the configuration says but the seed, as one text."""
        values = {key: value for key, value in resolved(self.config).items() if key not in _NO_ARM}
        return json.dumps(values, sort_keys=True)

    def metrics(self, task: Task) -> dict[str, Any]:
        """Metrics of a task.

        Raises:
            InputError: the task has not run, or left no JSON object.
        """
        merged: dict[str, Any] = {}
        for name in task.metrics:
            file = self.root / name
            try:
                merged |= json.loads(file.read_text(encoding="utf-8"))
            except FileNotFoundError:
                problem = f"does not exist, so {task.address} has not ended"
                raise InputError(problem, file=file, remedy="Let the run end first: `retort run`") from None
            except (ValueError, TypeError) as error:
                raise InputError(f"is no JSON object ({error})", file=file, remedy="Run its stage again") from error
        return merged

    def skipped(self, model: str) -> str | None:
        """Why a student was not trained; None for one that was, and for a model that the run did not make."""
        maker = self._maker(model)
        found = {} if maker is None else self.metrics(maker)
        return "; ".join(found.get("reasons") or ["its gate was shut"]) if found.get("skipped") is True else None

    def results(self, model: str, benchmark: str) -> Rows:
        """Per-item results of a model on a benchmark.

        Raises:
            InputError: it has not been evaluated, or the table is malformed.
        """
        return read_table(Paths(self.root).results(model, benchmark), RESULTS)

    def spent(self, model: str) -> Spent | None:
        """What making a model took; None for one that the run did not make.

        A student at another's compute reads that one's metrics, not what it made: that is no part of its making.
        """
        maker = self._maker(model)
        if maker is None:
            return None
        tokens, flops, seconds = 0, 0.0, 0.0
        timed = True
        for task in self._making(maker):
            found = self.metrics(task)
            if task.stage.name == "teacher_responses":
                tokens += sum(int(found.get(key) or 0) for key in ("prompt_tokens", "response_tokens"))
            else:
                flops += float(found.get("flops") or 0.0)
            timing = Paths(self.root).timing(task.address)
            if timing.exists():
                seconds += float(json.loads(timing.read_text(encoding="utf-8"))["seconds"])
            else:
                timed = False
        return Spent(tokens, flops, seconds if timed else None)

    def _maker(self, model: str) -> Task | None:
        if model not in self.config.students:
            return None
        return self.graph.makers[f"outputs/models/{model}"]

    def _making(self, maker: Task) -> list[Task]:
        waiting, found = [maker], dict[str, Task]()
        while waiting:
            task = waiting.pop()
            found[task.address] = task
            for path in task.deps:
                before = self.graph.makers[path]
                if path in before.outs and before.address not in found and before.stage.name not in _NOT_MAKING:
                    waiting.append(before)
        return list(found.values())


@dataclass(frozen=True)
class Arm:
    """Runs that differ in nothing but their seed."""

    name: str
    """Folder of its first run, without what is above it where that is enough to tell arms apart."""
    runs: tuple[Run, ...]

    @property
    def config(self) -> RetortConfig:
        """What the runs share."""
        return self.runs[0].config

    def code_differs(self) -> list[str]:
        """Tasks that not all runs made by the same code."""
        known = [run.code for run in self.runs if run.code]
        names = dict.fromkeys(name for code in known for name in code)
        return [name for name in names if len({code.get(name) for code in known}) > 1]


def arms(roots: Iterable[Path]) -> list[Arm]:
    """Runs gathered by what their configurations say beside the seed, in the order of the first of each.

    Raises:
        InputError: a folder is no run, is given twice, or two runs of an arm have one seed.
        ConfigError: a configuration is wrong.
    """
    found: dict[str, list[Run]] = {}
    for root in roots:
        run = Run.read(root)
        alike = found.setdefault(run.arm(), [])
        for other in alike:
            if other.config.seed == run.config.seed:
                raise InputError(
                    f"says what {other.root}/params.yaml says, the seed ({run.config.seed}) too",
                    file=root / "params.yaml",
                    field="seed",
                    remedy="Give each run once; two runs of one seed are one piece of evidence",
                )
        alike.append(run)
    firsts = [alike[0].root for alike in found.values()]
    names = [root.resolve().name for root in firsts]
    if len(set(names)) < len(names):  # runs of one name in two folders
        names = [str(root) for root in firsts]
    return [Arm(name, tuple(alike)) for name, alike in zip(names, found.values(), strict=True)]


def place_of(name: str, known: Sequence[Arm]) -> tuple[Arm, str]:
    """The arm and the model that `ARM/MODEL` names; with one arm, `MODEL` alone.

    Raises:
        ConfigError: there is no such arm, or it did not evaluate that model.
    """
    arm_name, slash, model = name.rpartition("/")
    names = [arm.name for arm in known]
    if not slash and len(known) > 1:
        raise ConfigError(
            f"--pair: {name!r} does not say of which run. Write {names[0]}/{name}; there are {', '.join(names)}."
        )
    arm = known[0] if not slash else next((one for one in known if one.name == arm_name), None)
    if arm is None:
        raise ConfigError(f"--pair: {unknown(f'run {arm_name!r}', arm_name, names)}.")
    evaluated = arm.config.evaluated()
    if model not in evaluated:
        raise ConfigError(f"--pair: {unknown(f'model {model!r}', model, evaluated)}.")
    return arm, model
