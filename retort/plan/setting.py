"""What every stage's plan starts from, and what it ends as."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from retort.config import RetortConfig
from retort.config.models import TransformersTeacher, VLLMTeacher
from retort.config.training import OptimizerConfig
from retort.plan import trace
from retort.plan.assumptions import Assumptions
from retort.plan.devices import Device
from retort.plan.shapes import model_config
from retort.plan.sharding import Sharing
from retort.plan.speed import Work
from retort.plan.trace import Bytes, Model


@dataclass(frozen=True)
class Setting:
    """One configuration on one kind of GPU, with its models."""

    config: RetortConfig
    device: Device
    assume: Assumptions
    root: Path
    student: Model
    teacher: Model | None
    """None where the teacher does not run here."""
    autocast: bool = True
    """Whether the SFT trainer multiplies in bfloat16 whatever the weights' type; it does on a GPU."""
    processes: int = 1
    """Processes that train together; what is planned is the memory of one."""

    @classmethod
    def of(
        cls, config: RetortConfig, device: Device, assume: Assumptions, root: Path, *, processes: int = 1
    ) -> Setting:
        """The setting with the models that `config` names.

        Raises:
            ModelError: see `retort.plan.shapes.model_config`.
        """
        student, teacher, large = config.student, config.teacher, None
        shape = model_config(student.model, root=root, revision=student.revision)
        if isinstance(teacher, TransformersTeacher | VLLMTeacher):
            found = model_config(teacher.model, root=root, revision=teacher.revision)
            large = trace.describe(found, teacher.dtype)
        described = trace.describe(shape, student.dtype)
        return cls(config, device, assume, root, described, large, processes=processes)

    def sharing(self, config: OptimizerConfig) -> Sharing:
        """How what a stage trains lies on the processes."""
        return Sharing(self.processes if config.sharding == "full_shard" else 1)

    def judges(self) -> list[Model]:
        """Frozen models whose likelihood the reward head sees."""
        named = {"teacher": self.teacher, "sft": self.student}
        return [found for name in self.config.reward.likelihood if (found := named[name]) is not None]


@dataclass(frozen=True)
class StagePlan:
    """One stage."""

    stage: str
    peak: str
    """The pass in which memory is fullest."""
    memory: Bytes
    work: Work | None
    """None where it depends on a number that is not known."""
    hours: float | None

    @classmethod
    def fullest(cls, stage: str, phases: dict[str, Bytes], work: Work | None, seconds: float | None) -> StagePlan:
        """A stage whose peak is that of the fullest of its phases."""
        name = max(phases, key=lambda name: phases[name].total)
        return cls(stage, name, phases[name], work, None if seconds is None else seconds / 3600)
