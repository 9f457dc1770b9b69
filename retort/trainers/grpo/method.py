"""GRPO as a training method: TRL's GRPOTrainer with Retort's sampler, rewards, order of prompts and early stop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from retort.config.methods import GRPOConfig
from retort.plugins import Method, Training
from retort.trainers.shared.reads import on_policy_reads

if TYPE_CHECKING:
    from retort.trainers.shared.on_policy import OnPolicyResult


def train(training: Training) -> OnPolicyResult:
    """Train with GRPO; the responses to a prompt are each other's baseline, so there is no critic.

    Raises:
        InputError: a prompt is too long for the student, or none that is held out has a label.
        TrainingError: a reward, figure or weight is not a finite number.
    """
    from retort.trainers.shared.group import train_groups

    config: GRPOConfig = training.settings
    return train_groups(
        training,
        "GRPO",
        beta=config.beta,
        scale_rewards=config.scale_rewards,
        loss_type=config.loss,
        logprobs=True,
    )


METHOD = Method(
    "grpo",
    GRPOConfig,
    train,
    reads=on_policy_reads,
    rewarded=True,
    extra_compute=True,
    summary="Refine a student against a reward by comparing the responses to one prompt (GRPO): no critic.",
    plan="retort.plan.on_policy:plan",
    curves=("reward", "agreement", "kl", "entropy", "response_tokens"),
    figures=("iterations", "first_agreement", "best_agreement"),
)
