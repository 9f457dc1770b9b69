"""What a run was to do and what came of it: its models in order, its students, its result, and what is compared.

All of it follows from the configuration and the students' metrics; nothing here knows a model or student by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from retort.config import RetortConfig
from retort.config.run import TEACHER
from retort.config.students import method_words
from retort.report.stage_metrics import Measured
from retort.run.graph import Task
from retort.run.known_stages import method_stage

Pair = tuple[str, str]
"""Two models: the second one's results are taken from the first one's."""


@dataclass(frozen=True)
class Student:
    """One student: what it was made from and by, and what its training left behind."""

    name: str
    method: str
    """Name of its training method."""
    wanted: str
    """Model or student that it was to start from."""
    start: str
    """The one that it did start from: where that one was skipped, what that would have started from."""
    base: str
    """Model of the configuration at the bottom of its lineage."""
    summary: str = ""
    """What its method does, in one sentence."""
    curves: tuple[str, ...] = ()
    """Curves that its method wants drawn; empty for all that there are."""
    reward: str | None = None
    """Reward that it is trained against."""
    compute_of: str | None = None
    """Student whose compute it was given too."""
    metrics: Mapping[str, Any] = field(default_factory=dict)

    @property
    def skipped(self) -> bool:
        """Whether a gate kept it from training: its folder holds what it would have started from."""
        return self.metrics.get("skipped") is True

    @property
    def reasons(self) -> list[str]:
        """Why it was skipped."""
        return [str(reason) for reason in self.metrics.get("reasons") or []]


@dataclass(frozen=True)
class Outline:
    """The run's models and students, and what the report says of which."""

    order: list[str]
    """Evaluated models and students in the order of the tables, without skipped students."""
    labels: Mapping[str, str]
    """What tables call every model and student."""
    students: Mapping[str, Student]
    """Those of the configuration, skipped ones too."""
    final: str
    """Student that the run was to hand over."""
    result: str
    """Model or student that it hands over: the final one, or what that would have started from where it was skipped."""
    pairs: list[Pair]
    """Compared models."""
    claims: list[Pair]
    """Those of them that deserve a sentence."""
    rewards: Mapping[str, str] = field(default_factory=dict)
    """What sentences call each reward, with its article."""

    def label(self, name: str) -> str:
        """What a table calls a model: `PPO student`."""
        return self.labels.get(name, name)

    def inside(self, name: str) -> str:
        """Its label within a sentence: `teacher`, but `PPO student`."""
        label = self.label(name)
        return label if name in self.students else label[:1].lower() + label[1:]

    def the(self, name: str) -> str:
        """It within a sentence, with its article."""
        words = self.inside(name)
        if name in self.students:
            return f"the {words}" if words.endswith("student") else words
        return f"the {words}" if words != name or name == TEACHER else f"the model {name}"

    def short(self, name: str) -> str:
        """A student by what was done to it: `PPO` for the PPO student; a model as `the` has it."""
        return self.label(name).removesuffix(" student") if name in self.students else self.the(name)

    def method(self, name: str) -> str:
        """The method of a student: `PPO`."""
        return method_words(self.students[name].method)

    def pair_name(self, pair: Pair) -> str:
        """`PPO student − SFT student`."""
        return f"{self.label(pair[0])} − {self.inside(pair[1])}"

    def reward_of(self, name: str) -> str:
        """What sentences call the reward of a student."""
        reward = self.students[name].reward or ""
        return self.rewards.get(reward, f"the reward “{reward}”")

    @property
    def line(self) -> list[Student]:
        """The student that was to be the result, and the students that it was to come from, newest first."""
        found, name = [], self.final
        while name in self.students:
            found.append(self.students[name])
            name = self.students[name].wanted
        return found

    @property
    def skipped(self) -> list[Student]:
        """Students that a gate kept from training."""
        return [student for student in self.students.values() if student.skipped]

    @property
    def base(self) -> str:
        """The model that the result comes from."""
        return self.students[self.result].base if self.result in self.students else self.result


def outline(config: RetortConfig, stages: Mapping[str, Measured]) -> Outline:
    """The outline of a run.

    Args:
        config: At least what the report task declares.
        stages: Metrics by group of tasks.
    """
    students = _students(config, stages)
    final = config.final_student()
    result = final
    while result in students and students[result].skipped:
        result = students[result].start
    trained = [name for name in config.evaluated() if name not in students or not students[name].skipped]
    base = students[result].base if result in students else result
    asked = getattr(config, "compare", None)
    # A result is always measured against what it is the work to improve, first and whatever else is compared.
    own = [(result, base)]
    if not asked:
        baselines = [(result, name) for name, student in students.items() if student.compute_of is not None]
        own = [*own, (result, _start(students, result)), (result, TEACHER), *baselines]
    pairs = [
        (first, second)
        for first, second in dict.fromkeys([*own, *config.comparisons()])
        if first != second and first in trained and second in trained
    ]
    return Outline(
        order=trained,
        labels={name: config.label(name) for name in [*config.models, *config.students]},
        students=students,
        final=final,
        result=result,
        pairs=pairs,
        claims=pairs if asked else [pair for pair in pairs if pair[0] == result],
        rewards=_reward_words(config),
    )


def _start(students: Mapping[str, Student], name: str) -> str:
    return students[name].start if name in students else name


def _students(config: RetortConfig, stages: Mapping[str, Measured]) -> dict[str, Student]:
    measured = {name: _measured(config, stages, name) for name in config.students}
    found = {}
    for name, entry in config.students.items():
        method = config.method(name)
        start = next(one for one in config.lineage(name) if not measured.get(one, {}).get("skipped"))
        found[name] = Student(
            name=name,
            method=method.name,
            wanted=entry.from_,
            start=start,
            base=config.base_of(name),
            summary=method.summary,
            curves=tuple(method.curves),
            reward=config.reward_of(name),
            compute_of=entry.compute_of,
            metrics=measured[name],
        )
    return found


def _measured(config: RetortConfig, stages: Mapping[str, Measured], student: str) -> Mapping[str, Any]:
    task = Task(method_stage(config.method(student)), {"student": student})
    return stages[task.group].metrics if task.group in stages else {}


def _reward_words(config: RetortConfig) -> dict[str, str]:
    """`the reward model` where there is one; several are told apart by name, or by label where they have one."""
    rewards = getattr(config, "rewards", {})  # a run without any declares no such section
    trained = [name for name in rewards if config.reward_type(name).trained]
    found = {}
    for name, entry in rewards.items():
        kind = "reward model" if name in trained else "reward"
        plain = f"the {kind}" if trained == [name] else f"the {kind} “{name}”"
        found[name] = f"the {kind} {entry.label}" if entry.label else plain
    return found
