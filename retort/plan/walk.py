"""The plan of a whole run: every task of its graph that runs or trains a model.

Planning reads the graph of `retort.run.tasks`, so it stands above `retort.run`, which knows nothing of plans.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from retort.config import RetortConfig
from retort.config.run import TEACHER
from retort.plan import learned_reward, sampling, trace
from retort.plan.assumptions import Assumptions
from retort.plan.devices import Device
from retort.plan.setting import Setting, StagePlan
from retort.run.graph import Task
from retort.run.tasks import graph


@dataclass(frozen=True)
class RunPlan:
    """Every stage that uses a GPU, in the order of the run."""

    device: Device
    assume: Assumptions
    models: dict[str, int]
    """Parameters of each model of the configuration whose weights are here."""
    students: dict[str, str]
    """Model that each student is as large as: the one at the bottom of its lineage."""
    stages: dict[str, StagePlan]
    """By group of tasks (`retort.run.graph.Task.group`)."""
    notes: list[str]
    """What is not counted, in sentences."""
    processes: int = 1
    """Processes that train together; memory is that of one, time that of one alone."""

    @property
    def peak_bytes(self) -> int:
        """The fullest stage, of those whose memory is known."""
        return max((stage.memory.total for stage in self.stages.values() if stage.memory is not None), default=0)

    @property
    def without_memory(self) -> list[str]:
        """Stages whose memory is not known."""
        return [name for name, stage in self.stages.items() if stage.memory is None]

    @property
    def fits(self) -> bool | None:
        """Whether every stage fits on the GPU; None where what is known does, but not all is known."""
        if self.peak_bytes > self.device.memory_gb * 1e9:
            return False
        return None if self.without_memory else True

    @property
    def hours(self) -> float | None:
        """Of all stages, one after another; None where one is not known."""
        known = [stage.hours for stage in self.stages.values() if stage.hours is not None]
        return sum(known) if len(known) == len(self.stages) else None

    def as_json(self) -> dict[str, Any]:
        """Plain values; bytes, tokens, FLOPs and hours."""
        return {
            "device": asdict(self.device),
            "assumptions": asdict(self.assume),
            "processes": self.processes,
            "parameters": self.models | {name: self.models[base] for name, base in self.students.items()},
            "peak_bytes": self.peak_bytes,
            "fits": self.fits,
            "hours": self.hours,
            "notes": self.notes,
            "stages": [
                {
                    "stage": name,
                    "peak": stage.peak,
                    "bytes": None if stage.memory is None else {**asdict(stage.memory), "total": stage.memory.total},
                    "work": None if stage.work is None else {**asdict(stage.work), "flops": stage.work.flops},
                    "hours": stage.hours,
                }
                for name, stage in self.stages.items()
            ],
        }


def plan(config: RetortConfig, device: Device, assume: Assumptions, root: Path, *, processes: int = 1) -> RunPlan:
    """Plan a run of `config`.

    Raises:
        ConfigError: a method's registration names no plan that can be called.
        ModelError: the shape of a model is not known here and cannot be fetched.
    """
    on = Setting(config, device, assume, root, processes=processes)
    stages: dict[str, StagePlan] = {}
    notes: list[str] = []
    judged: list[str] = []
    for group, tasks in graph(config, root).groups.items():
        if _asks_judge(tasks[0]):
            judged.append(group)
        if tasks[0].stage.uses != "models":
            continue
        if (asked := _answering(tasks[0])) is not None and not config.engine(asked).WEIGHTS:
            kind = config.engine(asked).type
            notes.append(
                f"{group}: {asked} answers through the engine {kind}: no GPU here, and its time is not counted"
            )
            continue
        planned = _PLANS.get(tasks[0].stage.run)
        why = f"no plan: retort.plan does not know {tasks[0].stage.run}"
        stages[group] = StagePlan.unknown(why) if planned is None else planned(on, tasks)
    for group, stage in stages.items():
        notes += [f"{group}: {note}" for note in (*((stage.peak,) if stage.memory is None else ()), *stage.notes)]
    if judged:
        notes.append(f"{', '.join(judged)}: the judge's memory, compute and time are not counted")
    sizes = {name: trace.parameters(on.model(name)) for name, model in config.models.items() if model.engine.WEIGHTS}
    bases = {name: config.base_of(name) for name in config.students}
    return RunPlan(device, assume, sizes, bases, stages, notes, processes)


def _responses(on: Setting, tasks: list[Task]) -> StagePlan:
    return sampling.responses(on, tasks[0].values.get("student", TEACHER), getattr(on.config, tasks[0].stage.name))


def _evaluate(on: Setting, tasks: list[Task]) -> StagePlan:
    wanted = {task.values["benchmark"] for task in tasks}
    benchmarks = [one for one in on.config.evaluate.benchmarks if one.name in wanted]
    return sampling.evaluate(on, tasks[0].values["model"], benchmarks)


_PLANS: dict[str, Callable[[Setting, list[Task]], StagePlan]] = {
    "retort.stages.responses": _responses,
    "retort.stages.evaluate": _evaluate,
    "retort.stages.reward": lambda on, tasks: learned_reward.plan(on, tasks[0].values["reward"]),
    "retort.stages.train": lambda on, tasks: on.student(tasks[0].values["student"]),
}
"""How a group of tasks is planned, by the module that runs them: any number of stages share one."""


def _answering(task: Task) -> str | None:
    """Model or student that answers in a task; None where none is asked."""
    if task.stage.run == "retort.stages.responses":
        return task.values.get("student", TEACHER)
    return task.values.get("model") if task.stage.run == "retort.stages.evaluate" else None


def _asks_judge(task: Task) -> bool:
    return any(key.partition(".")[0] == "judge" for key in (*task.params, *task.operation))
