"""What a training method is, and what it is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from retort.plugins.reward import Reward, nothing

Reads = Literal["teacher_responses", "votes", "unlabelled"]
"""What a method may read beside the prompts, the model it starts from and its reward; `unlabelled` are prompts that
the teacher never answers."""


@dataclass(frozen=True)
class Training:
    """What a method is given for one student. What it writes but `out`, `curves` and `state` is lost."""

    student: str
    """Name of the student."""
    settings: Any
    """The method's settings, an instance of its configuration class."""
    answer: Any
    """Kind of answer that responses end in (`retort.config.data.AnswerType`)."""
    seed: int
    start: Path
    """Folder of the model that it starts from."""
    out: Path
    """Folder to write the student into, whole or not at all (`retort.io.files.atomic_path`)."""
    curves: Path
    """Folder for `retort.modeling.curves.Curves`."""
    state: Path
    """Folder for checkpoints; what lies there survives a kill of this very task and nothing else does."""
    prompts: Mapping[str, Path]
    """Tables of prompts by use (`retort.io.tables.PROMPTS`): train and validation, and `unlabelled` where the method
    reads it, the run has any, and the reward can score responses to prompts without a label."""
    teacher_responses: tuple[Path, ...] = ()
    """Shards of the teacher's responses (`RESPONSES`)."""
    votes: Path | None = None
    """Table of pseudo-labels (`VOTES`)."""
    models: Mapping[str, Path] = field(default_factory=dict)
    """Folders of the models and students that it loads beside its start, by name (`Method.models`)."""
    judged: Callable[[], Mapping[tuple[str, str], bool | None]] | None = None
    """For open-ended prompts: reads whether a response, by prompt id and text, agrees with its label."""
    judging: Callable[[], Any] | None = None
    """For open-ended prompts: a context manager with the judge (`retort.judge.ask.Judge`) of new responses."""
    reward: Callable[[], Reward] | None = None
    """Loads the reward that the student is trained against."""
    extra_flops: float = 0.0
    """Compute to spend on top of the settings' steps: that of another student (`compute_of`)."""
    max_extra_steps: int | None = None
    """Bound on the steps that this adds."""


@dataclass(frozen=True)
class Answering:
    """What a method that is a way to answer is given where its student is sampled from or evaluated."""

    engine: Any
    """The engine (`retort.engines.base.Engine`) that answers for the student otherwise, not started yet."""
    settings: Any
    """The method's settings."""
    folder: Path
    """The student, as `train` left it."""
    reward: Callable[[], Reward]
    """Loads the student's reward."""


@dataclass(frozen=True)
class Method:
    """A training method: one file, one configuration class, one registration in group `retort.methods`."""

    name: str
    """Name of its stage and of its section of the configuration: lower-case letters, digits and `_`."""
    config: type[BaseModel]
    """Its settings, a `retort.config.training.OptimizerConfig`."""
    train: Callable[[Training], Any]
    """Trains one student. Returns a dataclass of metrics, of which the report understands `flops`, `tokens`, `steps`,
    `skipped` and `reasons`, `alarms`. Heavy imports belong inside: the configuration is read where no torch is."""
    reads: frozenset[Reads] | Callable[[Any], frozenset[Reads]] = frozenset()
    """What it reads beside prompts, start and reward; where that depends on its settings, a function of them."""
    models: Callable[[Any], list[str]] = nothing
    """Names of the models and students whose weights it loads beside its start, under its settings."""
    rewarded: bool = False
    """Whether it is trained against a reward."""
    extra_compute: bool = False
    """Whether it spends `Training.extra_flops`, so that a student can be given another's compute (`compute_of`)."""
    answer: Callable[[Answering], Any] | None = None
    """For a method that is a way to answer rather than to train: the engine that answers in place of the student's own,
    with the student's reward beside it."""
    summary: str = ""
    """What it does, in one sentence, for the report and the pipeline."""
    plan: Callable[[Any, str], Any] | str | None = None
    """`plan(on, student)`: memory, tokens, FLOPs and hours of training a student, for `retort plan`; `on` is a
    `retort.plan.setting.Setting` (the configuration, the GPU, the models' shapes), returned is a `StagePlan` of the
    same module. A string names the function as `module:function`, for a method that stands below what plans it. None
    lists the student without figures and leaves the hours unknown."""
    curves: tuple[str, ...] = field(default=())
    """Names of the curves that the report draws, first the one that matters most."""

    figures: tuple[str, ...] = ("steps", "tokens")
    """Metrics that a student's line in `retort run` shows; three are enough."""

    def reads_under(self, settings: Any) -> frozenset[Reads]:
        """What it reads beside prompts, start and reward, under its settings."""
        return self.reads(settings) if callable(self.reads) else self.reads

    def __post_init__(self) -> None:
        """Refuse a name that cannot be a stage's."""
        if not self.name.isidentifier() or not self.name.islower():
            raise ValueError(f"method name {self.name!r}: use lower-case letters, digits and _")
