"""The graph of a run: tasks, what each reads and writes, and who makes what; it follows from the configuration alone.

`dvc.yaml`, the Kubeflow pipeline, `retort plan`, evaluation and report all walk these tasks. Paths are relative to the
workspace.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from retort.errors import ConfigError
from retort.run.code_hash import code_hash


@dataclass(frozen=True)
class Stage:
    """One kind of work."""

    name: str
    run: str
    """Module that runs it, `retort.stages.votes`; its function `run` takes a `retort.run.stage.Context`."""
    summary: str
    """What it does, in one sentence."""
    matrix: tuple[str, ...] = ()
    """Keys that tell its tasks apart."""
    fan: str | None = None
    """Key of the matrix over which tasks are alike: they read from the same tasks, or one each of the same group."""
    uses: Literal["tables", "models"] = "tables"
    """Whether it runs or trains a model, and so wants a GPU."""
    trains: bool = False
    """Whether several processes, GPUs and nodes can share it."""
    figures: tuple[str, ...] = ()
    """Metrics that its line in `retort run` shows."""


@dataclass(frozen=True)
class Task:
    """One task of a stage: the stage with a value for each key of its matrix."""

    stage: Stage
    values: Mapping[str, str] = field(default_factory=dict)
    params: tuple[str, ...] = ()
    """Dotted keys of the configuration that decide its result."""
    operation: tuple[str, ...] = ()
    """Dotted keys that it reads too, but that decide only how it is computed."""
    deps: tuple[str, ...] = ()
    """What it reads of other tasks."""
    outs: tuple[str, ...] = ()
    """What it writes, versioned in the object store."""
    metrics: tuple[str, ...] = ()
    """JSON metrics, kept in git."""
    summary: tuple[str, ...] = ()
    """The run's few figures, kept in git: what `dvc metrics` and `dvc exp show` show of it."""
    plots: tuple[str, ...] = ()
    """Folders of curves."""
    sources: tuple[str, ...] = ()
    """Files and folders from outside the graph, as the configuration names them."""
    loads: tuple[str, ...] = ()
    """Folders of models that may be named by a reference and lie outside the graph."""
    modules: tuple[str, ...] = ()
    """Modules whose code, with all that it imports, decides its result."""
    without: tuple[str, ...] = ()
    """Modules that the configuration does not use, though others import them."""
    image: Literal["train", "generate", "either"] = "train"
    """Image of its pod."""

    @property
    def item(self) -> str:
        """Its matrix values as one word: `0`, `ppo-heldout`; empty without a matrix."""
        return "-".join(self.values.values())

    @property
    def address(self) -> str:
        """Name that DVC gives it: `votes`, `ppo-ppo2`, `evaluate-ppo-heldout`."""
        return "-".join([self.stage.name, *self.values.values()])

    @property
    def group(self) -> str:
        """Name of the tasks that are alike: its address less the value that tells them apart."""
        return "-".join([self.stage.name, *(value for key, value in self.values.items() if key != self.stage.fan)])

    @property
    def command(self) -> str:
        """Command that runs it."""
        flags = "".join(f" --{key} {value}" for key, value in self.values.items())
        return f"retort stage {self.stage.name}{flags}"

    @property
    def written(self) -> tuple[str, ...]:
        """Everything that it writes."""
        return (*self.outs, *self.metrics, *self.summary, *self.plots)

    def code(self) -> str:
        """Hash of the code that decides its result."""
        return code_hash(self.modules, self.without)


@dataclass(frozen=True)
class Graph:
    """All tasks of a run, each after those that it reads from."""

    tasks: tuple[Task, ...]

    @classmethod
    def of(cls, tasks: Iterable[Task]) -> Graph:
        """The graph of `tasks`, put in order.

        Raises:
            ConfigError: two tasks write one path, or a task reads what none writes.
        """
        given = list(tasks)
        makers: dict[str, Task] = {}
        for task in given:
            for path in task.written:
                if path in makers:
                    raise ConfigError(f"{task.address} and {makers[path].address} would both write {path}.")
                makers[path] = task
        for task in given:
            for path in task.deps:
                if path not in makers:
                    raise ConfigError(f"{task.address} reads {path}, which no task writes.")
        ordered: list[Task] = []
        done: set[str] = set()

        def add(task: Task) -> None:
            if task.address in done:
                return
            done.add(task.address)
            for path in task.deps:
                add(makers[path])
            ordered.append(task)

        for task in given:
            add(task)
        return cls(tuple(ordered))

    @cached_property
    def by_address(self) -> dict[str, Task]:
        """Tasks by address."""
        return {task.address: task for task in self.tasks}

    @cached_property
    def makers(self) -> dict[str, Task]:
        """The task that writes each path."""
        return {path: task for task in self.tasks for path in task.written}

    @property
    def stages(self) -> list[Stage]:
        """Stages that have a task, in order."""
        return list({task.stage.name: task.stage for task in self.tasks}.values())

    @property
    def groups(self) -> dict[str, list[Task]]:
        """Tasks by group, in order: those of one group read from the same groups, so one loop runs them."""
        found: dict[str, list[Task]] = {}
        for task in self.tasks:
            found.setdefault(task.group, []).append(task)
        return found

    @property
    def sources(self) -> list[str]:
        """Files and folders from outside that any task reads."""
        return sorted({name for task in self.tasks for name in task.sources})

    def of_stage(self, name: str) -> list[Task]:
        """Tasks of a stage."""
        return [task for task in self.tasks if task.stage.name == name]

    def producers(self, task: Task) -> list[Task]:
        """Tasks that `task` reads from, in order."""
        needed = {self.makers[path].address for path in task.deps}
        return [other for other in self.tasks if other.address in needed]

    def after(self, start: Iterable[str]) -> list[str]:
        """Addresses of the tasks `start` and of all that read from them, directly or not."""
        reached = set(start)
        for task in self.tasks:
            if any(other.address in reached for other in self.producers(task)):
                reached.add(task.address)
        return [task.address for task in self.tasks if task.address in reached]

    def __iter__(self) -> Iterator[Task]:
        """The tasks."""
        return iter(self.tasks)


def values_of(stage: Stage, item: str) -> dict[str, str]:
    """Matrix values of a task of `stage`, written as in its address: `0`, `ppo-heldout`."""
    return dict(zip(stage.matrix, item.split("-") if item else [], strict=True))


def as_plain(task: Task) -> dict[str, Any]:
    """A task as plain values, for one who cannot make the graph: a pod, which knows a part of the configuration."""
    return {
        "stage": {key: getattr(task.stage, key) for key in Stage.__dataclass_fields__ if key != "figures"},
        **{key: getattr(task, key) for key in Task.__dataclass_fields__ if key != "stage"},
        "values": list(task.values.items()),  # their order is part of the address
    }


def from_plain(plain: Mapping[str, Any]) -> Task:
    """What `as_plain` made, JSON in between."""

    def frozen(values: Mapping[str, Any]) -> dict[str, Any]:
        return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}

    return Task(**frozen(plain) | {"stage": Stage(**frozen(plain["stage"])), "values": dict(plain["values"])})
