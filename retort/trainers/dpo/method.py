"""DPO as a training method: prefer the teacher's responses that agree with the vote to those that do not."""

from __future__ import annotations

from dataclasses import dataclass

from retort.config.methods import DPOConfig
from retort.plugins import Method, Training


@dataclass(frozen=True)
class DPOResult:
    """Metrics of a training on pairs."""

    steps: int
    pairs: int
    prompts: int
    """Prompts that have a pair."""
    all_agree: int
    """Prompts without one, for all responses agree with the vote."""
    none_agrees: int
    """Prompts without one, for no response agrees with the vote or there is no vote."""
    too_long: int
    """Pairs left out because a response with its prompt exceeds `max_length`."""
    loss: float
    """Mean loss over the last tenth of the steps."""
    preferred: float
    """Share of pairs whose chosen response has the higher implicit reward, over the last tenth of the steps."""
    tokens: int
    """Tokens of all responses trained on, prompts included."""
    flops: float
    """6 x parameters a token trained on, 2 x parameters one that the reference reads."""
    extra_steps: int = 0
    """Optimizer steps that another student's compute added (`compute_of`)."""
    capped: bool = False
    """Whether `max_extra_steps` kept it below that compute."""


def train(training: Training) -> DPOResult:
    """Train on pairs of the teacher's responses to the training prompts.

    Raises:
        InputError: there is no pair: the responses to each prompt all agree with its vote, or none does.
        TrainingError: see `retort.trainers.dpo.train.train_dpo`.
    """
    from retort.errors import InputError
    from retort.trainers.dpo.pairs import preference_pairs
    from retort.trainers.dpo.train import train_dpo
    from retort.trainers.shared.teacher import told

    config: DPOConfig = training.settings
    found = preference_pairs(told(training), most=config.pairs_per_prompt, seed=training.seed)
    if not found.pairs:
        assert training.votes is not None, "the method says that it reads them"
        raise InputError(
            f"no pair for students.{training.student}: of {found.all_agree} prompts all whole responses agree with the "
            f"vote, of {found.none_agrees} none does",
            file=training.votes,
            field="label",
            remedy="Sample the teacher more often or at a higher temperature (teacher_responses.samples, "
            "teacher_responses.temperatures), so that responses to one prompt differ; or train it by sft",
        )
    done = train_dpo(
        training.start,
        found.pairs,
        config,
        seed=training.seed,
        state=training.state,
        curves_folder=training.curves,
        out=training.out,
        extra_flops=training.extra_flops,
        max_extra_steps=training.max_extra_steps,
    )
    return DPOResult(
        done.steps,
        done.pairs,
        found.prompts,
        found.all_agree,
        found.none_agrees,
        done.too_long,
        done.loss,
        done.preferred,
        done.tokens,
        done.flops,
        done.steps - config.steps,
        done.capped,
    )


METHOD = Method(
    "dpo",
    DPOConfig,
    train,
    reads=frozenset({"teacher_responses", "votes"}),
    extra_compute=True,
    summary="Prefer the teacher's responses that agree with the vote to those that do not.",
    plan="retort.plan.dpo:plan",
    curves=("loss", "preferred", "margin"),
    figures=("steps", "pairs", "preferred"),
)
