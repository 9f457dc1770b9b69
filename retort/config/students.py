"""What is trained from what: the students, and the rewards that they are trained against."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, Field

from retort.config.base import Strict
from retort.config.models import Engine, TransformersEngineConfig


class StudentConfig(Strict):
    """One student: a training method, the model that it starts from, and what differs from the method's section."""

    model_config = ConfigDict(extra="allow")

    method: str
    """Training method: `sft`, `ppo`, one that a package of yours registers, or `my_method.py:METHOD`."""
    from_: str = Field(alias="from")
    """Model or student that it starts from; a student that starts from a student is another round."""
    reward: str | None = None
    """Reward that it is trained against, for methods that take one; the only one of `rewards` when left out."""
    compute_of: str | None = None
    """Student whose compute (FLOPs) it is given on top of its own steps: a baseline of equal compute."""
    max_extra_steps: int | None = Field(None, ge=1)
    """Bound on the optimizer steps that `compute_of` adds; the report says when it was reached."""
    label: str | None = None
    """What tables and the report call it."""
    engine: Engine = TransformersEngineConfig()
    """What answers for it where it is sampled from or evaluated."""

    @property
    def overrides(self) -> dict[str, Any]:
        """Settings of its method that differ from the method's section."""
        return dict(self.model_extra or {})


class StudentEngine(Strict):
    """What a task that only asks a student sees of its entry."""

    engine: Engine = TransformersEngineConfig()
    """What answers for it."""


class RewardEntry(Strict):
    """One reward: its type, and the settings of that type."""

    model_config = ConfigDict(extra="allow")

    type: str
    """`model` (learned from the pseudo-labels), `vote`, `judge`, `endpoint`, `function`, one that a package of yours
    registers, or `my_reward.py:REWARD`."""
    label: str | None = None
    """What the report calls it."""

    @property
    def overrides(self) -> dict[str, Any]:
        """Settings of its type; of a learned reward those that differ from the section `reward`."""
        return dict(self.model_extra or {})


DEFAULT_STUDENTS: dict[str, Any] = {
    "sft": {"method": "sft", "from": "base"},
    "ppo": {"method": "ppo", "from": "sft", "reward": "learned"},
}
"""The students of a configuration that names none: the paper's."""

DEFAULT_REWARDS: dict[str, Any] = {"learned": {"type": "model"}}
"""The rewards of a configuration that names none, where a student wants them."""


def method_words(method: str) -> str:
    """A method within a sentence: an abbreviation in capitals, another name as it is."""
    return method.upper() if len(method) <= 5 and "_" not in method else method.replace("_", " ")
