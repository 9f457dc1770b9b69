"""What every stage's plan starts from, and what it ends as."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from retort import plugins
from retort.config import RetortConfig
from retort.config.training import OptimizerConfig
from retort.errors import ConfigError
from retort.plan import trace
from retort.plan.assumptions import Assumptions
from retort.plan.devices import Device
from retort.plan.shapes import model_config
from retort.plan.sharding import Sharing
from retort.plan.speed import Work
from retort.plan.trace import Bytes, Model, Precision


@dataclass(frozen=True)
class Setting:
    """One configuration on one kind of GPU; what a method's plan is given beside the student's name."""

    config: RetortConfig
    device: Device
    assume: Assumptions
    root: Path
    """Folder that the configuration's paths start from."""
    autocast: bool = True
    """Whether the SFT trainer multiplies in bfloat16 whatever the weights' type; it does on a GPU."""
    processes: int = 1
    """Processes that train together; what is planned is the memory of one."""
    _planned: dict[str, StagePlan] = field(default_factory=dict, init=False, repr=False, compare=False)

    def model(self, name: str) -> Model:
        """A model, or a student: what it started from, in the type that its method saves it in.

        Raises:
            ModelError: see `retort.plan.shapes.model_config`.
        """
        if name in self.config.students:
            start = self.start(name)
            saved = self.student(name).saves or start.dtype
            return trace.describe(start.config, saved)
        entry = self.config.models[name]
        assert entry.source is not None, "an engine elsewhere has no weights to ask for"
        shape = model_config(entry.source, root=self.root, revision=entry.revision)
        return trace.describe(shape, entry.dtype)

    def start(self, student: str) -> Model:
        """What a student starts from."""
        return self.model(self.config.students[student].from_)

    def student(self, name: str) -> StagePlan:
        """The plan of a student's training, which its method's registration makes.

        Raises:
            ConfigError: the registration names no function that returns a `StagePlan`.
        """
        if name not in self._planned:
            self._planned[name] = self._plan(self.config.method(name), name)
        return self._planned[name]

    def _plan(self, method: plugins.Method, student: str) -> StagePlan:
        if method.plan is None:
            return StagePlan.unknown("no plan: its method says none")
        planner: Any = method.plan
        if isinstance(planner, str):
            try:
                planner = resolve_name(planner)
            except (ImportError, AttributeError, ValueError) as error:
                raise ConfigError(
                    f"method {method.name!r}: its plan {method.plan!r} cannot be found ({error}). Name a function as "
                    "module:function."
                ) from error
        found = planner(self, student)
        if not isinstance(found, StagePlan):
            raise ConfigError(
                f"method {method.name!r}: its plan returned a {type(found).__name__}, where a "
                "retort.plan.setting.StagePlan is needed."
            )
        return found

    def sharing(self, config: OptimizerConfig) -> Sharing:
        """How what a stage trains lies on the processes."""
        return Sharing(self.processes if config.sharding == "full_shard" else 1)


@dataclass(frozen=True)
class StagePlan:
    """The tasks of one group: those of a stage that differ in a shard or benchmark alone, one after another."""

    peak: str
    """The pass in which memory is fullest, or why there is no plan."""
    memory: Bytes | None
    """None where it is not known."""
    work: Work | None
    """None where it depends on a number that is not known."""
    hours: float | None
    saves: Precision | None = None
    """Type of the weights that a student is saved in; None for that of what it started from."""
    notes: tuple[str, ...] = ()
    """What is not counted, in sentences."""

    @classmethod
    def fullest(
        cls,
        phases: dict[str, Bytes],
        work: Work | None,
        seconds: float | None,
        *,
        saves: Precision | None = None,
        notes: tuple[str, ...] = (),
    ) -> StagePlan:
        """A stage whose peak is that of the fullest of its phases."""
        name = max(phases, key=lambda name: phases[name].total)
        return cls(name, phases[name], work, None if seconds is None else seconds / 3600, saves, notes)

    @classmethod
    def unknown(cls, why: str) -> StagePlan:
        """A stage of which nothing is known."""
        return cls(why, None, None, None)
