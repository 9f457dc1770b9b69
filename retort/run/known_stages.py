"""Every stage that there is: its name, its module, and how its tasks are told apart."""

from __future__ import annotations

from retort import plugins
from retort.run.graph import Stage

_OF_RESPONSES = ("responses", "cut_off_rate", "mean_response_tokens")

STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage(
            "prompts",
            "retort.stages.prompts",
            "Load prompts, drop duplicates and contamination, split them.",
            figures=("train", "validation", "test"),
        ),
        Stage("models", "retort.stages.models", "Pin and check every model that the run does not make."),
        Stage(
            "teacher_responses",
            "retort.stages.responses",
            "Sample the teacher's responses to one shard of the prompts.",
            matrix=("shard",),
            fan="shard",
            uses="models",
            figures=_OF_RESPONSES,
        ),
        Stage(
            "ballots",
            "retort.stages.ballots",
            "Read the answers in one of several shards of the teacher's responses.",
            matrix=("shard",),
            fan="shard",
        ),
        Stage(
            "votes",
            "retort.stages.votes",
            "Elect each prompt's pseudo-label from the teacher's responses.",
            figures=("coverage", "mean_share", "accuracy"),
        ),
        Stage(
            "student_responses",
            "retort.stages.responses",
            "Sample a student's responses to one shard of the prompts.",
            matrix=("student", "shard"),
            fan="shard",
            uses="models",
            figures=_OF_RESPONSES,
        ),
        Stage(
            "reward_examples",
            "retort.stages.reward_examples",
            "Label the responses to one of several parts of the prompts, for a reward model.",
            matrix=("reward", "shard"),
            fan="shard",
        ),
        Stage(
            "reward_data",
            "retort.stages.reward_data",
            "Label responses by the pseudo-labels, for a reward model.",
            matrix=("reward",),
            figures=("train", "validation", "train_positive_share"),
        ),
        Stage(
            "reward",
            "retort.stages.reward",
            "Train a reward model, measure it on held-out prompts and decide whether it may be trained against.",
            matrix=("reward",),
            uses="models",
            trains=True,
            figures=("auc", "calibration_error", "gate_passed"),
        ),
        Stage(
            "evaluate",
            "retort.stages.evaluate",
            "Answer one benchmark with one model, item by item.",
            matrix=("model", "benchmark"),
            fan="benchmark",
            uses="models",
            figures=("accuracy", "items", "cut_off_rate"),
        ),
        Stage("report", "retort.stages.report", "Write the report and the model card."),
    )
}
"""Every stage but those of the training methods, which come from their registrations."""


def method_stage(method: plugins.Method) -> Stage:
    """The stage of a training method."""
    return Stage(
        method.name,
        "retort.stages.train",
        method.summary or f"Train a student by {method.name}.",
        matrix=("student",),
        uses="models",
        trains=True,
        figures=method.figures,
    )


def known_stages() -> dict[str, Stage]:
    """Every stage that a configuration can have without a file of its own: Retort's and the registered methods'."""
    methods = [plugins.load("method", name) for name in plugins.names("method")]
    return STAGES | {method.name: method_stage(method) for method in methods}
