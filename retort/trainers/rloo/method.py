"""RLOO as a training method: TRL's RLOOTrainer with Retort's sampler, rewards, order of prompts and early stop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from retort.config.methods import RLOOConfig
from retort.plugins import Method, Training
from retort.trainers.shared.reads import on_policy_reads

if TYPE_CHECKING:
    from retort.trainers.shared.on_policy import OnPolicyResult


def train(training: Training) -> OnPolicyResult:
    """Train with RLOO: a response's baseline is the mean reward of the other responses to its prompt.

    Raises:
        InputError: a prompt is too long for the student, or none that is held out has a label.
        TrainingError: a reward, figure or weight is not a finite number.
    """
    from retort.trainers.shared.group import train_groups

    config: RLOOConfig = training.settings
    return train_groups(
        training,
        "RLOO",
        beta=config.beta,
        normalize_advantages=config.normalise_advantages,
    )


METHOD = Method(
    "rloo",
    RLOOConfig,
    train,
    reads=on_policy_reads,
    rewarded=True,
    extra_compute=True,
    summary="Refine a student against a reward by REINFORCE with the other responses to a prompt as baseline (RLOO).",
    plan="retort.plan.on_policy:plan",
    curves=("reward", "agreement", "kl", "entropy", "response_tokens"),
    figures=("iterations", "first_agreement", "best_agreement"),
)
