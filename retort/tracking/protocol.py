"""What a tracker is told of one task of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol


class RefusedError(Exception):
    """The tracker will never take what it was told, however often; it is told the next thing."""


@dataclass(frozen=True)
class Subject:
    """One task of one run."""

    run: str
    """Name of the run, for people."""
    group: str
    """What tells the run apart from others of its name."""
    task: str
    """Address of the task: `ppo-ppo`."""
    stage: str
    key: str
    """What tells this execution of the task apart: the same for the attempts of one that is killed and resumed."""
    parameters: Mapping[str, str | int | float | bool]
    """What decides its result, by dotted key."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """What else is known: what it reads, version, Kubeflow's run."""


@dataclass(frozen=True)
class Row:
    """Figures of one step."""

    step: int
    figures: Mapping[str, float]
    time: float
    """Seconds since 1970."""


@dataclass(frozen=True)
class Made:
    """A model, student or reward that a task made."""

    name: str
    """Its folder, `models/ppo`."""
    digest: str
    """DVC's hash of its content."""
    address: str
    """Where that content lies."""


@dataclass(frozen=True)
class Outcome:
    """How a task ended."""

    state: Literal["finished", "failed", "stopped"]
    """`stopped`: it was told to go, and another attempt goes on."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """The task's metrics, by dotted name."""
    made: Sequence[Made] = ()
    summary: Mapping[str, float] = field(default_factory=dict)
    """The whole run's ten figures, of the task that knows them."""


class Tracker(Protocol):
    """Where figures go. All is called from one thread, in this order; whatever is raised is tried again later."""

    def begin(self, subject: Subject) -> None:
        """Make the task's run, or go on with the one of that key."""
        ...

    def rows(self, rows: Sequence[Row]) -> None:
        """Rows of curves, none twice."""
        ...

    def end(self, outcome: Outcome) -> None:
        """The task has ended.

        Raises:
            RefusedError: as every method may.
        """
        ...
