"""SFT as a training method: fine-tune a student on the teacher's responses, all or those that agree with the vote."""

from __future__ import annotations

from dataclasses import dataclass

from retort.config.training import SFTConfig
from retort.plugins import Method, Training


@dataclass(frozen=True)
class SFTResult:
    """Metrics of a fine-tuning."""

    steps: int
    examples: int
    too_long: int
    """Examples left out because they exceed `max_length`."""
    loss: float
    """Mean training loss (nats a token) over the last tenth of the steps."""
    tokens: int
    """Tokens of all examples trained on, prompts included."""
    flops: float
    """Training compute, 6 x parameters x tokens (Kaplan et al. 2020, §2.1)."""
    extra_steps: int = 0
    """Optimizer steps that another student's compute added (`compute_of`)."""
    capped: bool = False
    """Whether `max_extra_steps` kept it below that compute."""


def train(training: Training) -> SFTResult:
    """Fine-tune on the teacher's responses, for as many more steps as `extra_flops` pays for.

    Raises:
        InputError: there is nothing to teach: no response agrees with the vote, or none ended by itself.
        TrainingError: see `retort.trainers.sft.train.train_sft`.
    """
    from retort.errors import InputError
    from retort.trainers.sft.examples import taught_responses
    from retort.trainers.sft.train import train_sft
    from retort.trainers.shared.teacher import told

    config: SFTConfig = training.settings
    every = config.responses == "all"
    examples = taught_responses(
        told(training),
        every=every,
        max_per_prompt=config.max_per_prompt,
        seed=training.seed,
        reasoning=config.reasoning == "keep",
    )
    if not examples:
        assert training.votes is not None, "the method says that it reads them"
        raise InputError(
            "no teacher response to a training prompt " + ("ended by itself" if every else "agrees with the vote"),
            file=training.votes,
            field="label",
            remedy="Look at metrics/votes.json: a teacher that is never read or always abstains teaches nothing",
        )
    done = train_sft(
        training.start,
        examples,
        config,
        extra_flops=training.extra_flops,
        max_extra_steps=training.max_extra_steps,
        seed=training.seed,
        state=training.state,
        curves_folder=training.curves,
        out=training.out,
    )
    return SFTResult(
        done.steps,
        done.examples,
        done.too_long,
        done.loss,
        done.tokens,
        done.flops,
        done.steps - config.steps,
        done.capped,
    )


METHOD = Method(
    "sft",
    SFTConfig,
    train,
    reads=frozenset({"teacher_responses", "votes"}),
    extra_compute=True,
    summary="Fine-tune a student on the teacher's responses: those that agree with the vote, or all.",
    plan="retort.plan.sft:plan",
    curves=("loss",),
    figures=("steps", "examples", "loss"),
)
