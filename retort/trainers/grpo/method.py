"""GRPO as a training method: TRL's GRPOTrainer with Retort's sampler, rewards, order of prompts and early stop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from retort.config.methods import GRPOConfig
from retort.plugins import Method, Training

if TYPE_CHECKING:
    from retort.trainers.shared.group import GroupResult


def train(training: Training) -> GroupResult:
    """Train with GRPO; the responses to a prompt are each other's baseline, so there is no critic.

    Raises:
        InputError: a prompt is too long for the student, or none that is held out has a label.
        TrainingError: a reward, figure or weight is not a finite number.
    """
    from retort.trainers.shared.group import train_groups
    from retort.trainers.shared.on_policy import frozen_start

    config: GRPOConfig = training.settings

    def trainer() -> type:
        from trl import GRPOTrainer

        found: type = GRPOTrainer
        return found

    def make(kind: type, arguments: dict[str, Any], rest: dict[str, Any]) -> Any:
        from trl import GRPOConfig as TRLConfig

        from retort.modeling.lora import adapter_settings

        made = kind(
            args=TRLConfig(
                **arguments,
                num_generations=config.responses_per_prompt,
                generation_batch_size=config.episodes,
                num_iterations=config.epochs,
                epsilon=config.clip,
                beta=0.0,  # the reference is given below: TRL would load it by its name alone
                scale_rewards=config.scale_rewards,
                loss_type=config.loss,
            ),
            **rest,
            peft_config=adapter_settings(config.lora, rest["model"]),
        )
        frozen_start(training, made, beta=config.beta)
        return made

    return train_groups(training, "grpo", trainer, make, beta=config.beta, logprobs=True)


def reads(config: GRPOConfig) -> frozenset[Any]:
    """Prompts that no teacher answers, and the vote, where agreement with it decides which student is kept."""
    return frozenset({"unlabelled", *(["votes"] if config.keep == "best" else [])})


METHOD = Method(
    "grpo",
    GRPOConfig,
    train,
    reads=reads,
    rewarded=True,
    extra_compute=True,
    summary="Refine a student against a reward by comparing the responses to one prompt (GRPO): no critic.",
    plan="retort.plan.on_policy:plan",
    curves=("reward", "agreement", "kl", "entropy", "response_tokens"),
    figures=("iterations", "first_agreement", "best_agreement"),
)
