"""Settings of the training methods beside SFT and PPO: DPO, GRPO, RLOO, distillation on-policy, rejection sampling."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from retort.config.training import OptimizerConfig, StepsConfig, TrainerConfig


class DPOConfig(StepsConfig):
    """Direct preference optimization (Rafailov et al. 2023) of agreeing over disagreeing responses to a prompt."""

    pairs_per_prompt: int = Field(4, ge=1)
    """Most pairs of one prompt; every response takes part before one takes part again."""
    beta: float = Field(0.1, gt=0)
    """Strength of the hold on what the student started from (eq. 7): the smaller, the further it may go."""
    loss: Literal["sigmoid", "ipo", "hinge"] = "sigmoid"
    """The loss of a pair's margin: DPO's own, the square of IPO (Azar et al. 2023), or the hinge of SLiC."""
    sft_weight: float = Field(0.0, ge=0)
    """Weight of the likelihood of the preferred response beside that loss (RPO, Pang et al. 2024, eq. 1): it keeps the
    preferred responses likely, which DPO alone does not."""


class OnPolicyConfig(TrainerConfig):
    """What every method that trains on the student's own samples sets."""

    NOT_CONTENT: ClassVar[frozenset[str]] = frozenset({"checkpoint_every"})

    iterations: int = Field(100, ge=1)
    """Rounds of sampling and update."""
    prompts_per_iteration: int = Field(64, ge=1)
    """Prompts drawn for each round."""
    temperature: float = Field(1.0, gt=0)
    """Sampling temperature; log-probabilities are taken at the same one."""
    max_new_tokens: int = Field(256, ge=1)
    """Tokens after which a response is cut off."""
    generation_batch_size: int = Field(256, ge=1)
    """Sequences generated at once."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """Course of the learning rate after warm-up; with `compute_of` over as many iterations as that may buy at most."""
    keep: Literal["best", "last"] = "best"
    """The student that is kept: the one that agreed best with the vote on held-out prompts, or the last; that agreement
    is watched with `best` alone, and ends training early."""
    evaluate_every: int = Field(10, ge=1)
    """Iterations between measurements of agreement with the vote on held-out prompts."""
    evaluate_temperature: float = Field(0.0, ge=0)
    """Temperature of the responses whose agreement is measured: 0 is greedy."""
    patience: int = Field(5, ge=1)
    """Measurements without a new best after which training stops early."""
    validation_limit: int = Field(500, ge=1)
    """Held-out prompts used for that measurement."""
    checkpoint_every: int = Field(10, ge=1)
    """Iterations between checkpoints that a killed stage resumes from."""

    @model_validator(mode="after")
    def _sampling_is_not_sharded(self) -> Self:
        if self.sharding != "none":
            raise ValueError("sharding: a student that is sampled from while it trains cannot be sharded; take lora")
        return self


class GroupConfig(OnPolicyConfig):
    """What methods set that compare the responses to one prompt with each other in place of a critic."""

    responses_per_prompt: int = Field(8, ge=2)
    """Responses sampled to each prompt; they are each other's baseline."""
    epochs: int = Field(1, ge=1)
    """Passes over a round's responses."""
    minibatch_size: int | None = Field(None, ge=1)
    """Responses an optimizer step; all of a round's when left out."""
    clip: float = Field(0.2, gt=0, lt=1)
    """Half-width of the interval that the probability ratio is clipped to (PPO, eq. 7)."""
    missing_eos_penalty: float = Field(0.5, ge=0)
    """Taken from the reward of a response that was cut off."""

    @property
    def episodes(self) -> int:
        """Responses a round."""
        return self.prompts_per_iteration * self.responses_per_prompt

    @property
    def minibatch(self) -> int:
        """Responses an optimizer step."""
        return self.minibatch_size or self.episodes

    @model_validator(mode="after")
    def _minibatches_divide_the_round(self) -> Self:
        if self.episodes % self.minibatch:
            raise ValueError(f"minibatch_size {self.minibatch} does not divide the {self.episodes} responses a round")
        return self


class GRPOConfig(GroupConfig):
    """Group relative policy optimization (Shao et al. 2024) against any reward."""

    beta: float = Field(0.0, ge=0)
    """Weight of the KL to what the student started from in the loss; with 0 no copy of that is held."""
    scale_rewards: Literal["group", "batch", "none"] = "group"
    """What a reward's distance from its group's mean is divided by: the group's standard deviation, the round's, or
    nothing (Liu et al. 2025, Dr. GRPO, which finds that the group's favours prompts that are all but solved)."""
    loss: Literal["grpo", "dapo", "dr_grpo"] = "dapo"
    """What the loss of tokens is averaged over: each response, then all; all tokens (Yu et al. 2025, DAPO); or a
    constant (Dr. GRPO)."""


class RLOOConfig(GroupConfig):
    """REINFORCE with a leave-one-out baseline (Ahmadian et al. 2024) against any reward."""

    beta: float = Field(0.05, ge=0)
    """Weight of the KL to what the student started from in the reward; with 0 no copy of that is held."""
    normalise_advantages: bool = True
    """Shift and scale a round's advantages to mean 0, variance 1."""


class DistillationConfig(OnPolicyConfig):
    """On-policy distillation (GKD, Agarwal et al. 2023): the teacher's distribution after each token of a sample."""

    teacher: str = "teacher"
    """Model or student whose logits are learned: its weights must be here, and read the very tokens of the student."""
    divergence: float = Field(1.0, ge=0, le=1)
    """Which divergence between the two (generalized Jensen-Shannon): 0 is the KL from the teacher's, 1 the KL from the
    student's distribution."""

    @property
    def minibatch(self) -> int:
        """Responses an optimizer step."""
        return self.prompts_per_iteration


class RejectionConfig(StepsConfig):
    """Fine-tuning on the responses that a reward likes best (rejection sampling; RAFT, Dong et al. 2023)."""

    source: Literal["own", "teacher"] = "own"
    """Whose responses are scored: samples that the student itself gives before training, or the teacher's."""
    samples: int = Field(8, ge=1)
    """Own responses sampled to each prompt."""
    temperature: float = Field(1.0, gt=0)
    """Their sampling temperature."""
    max_new_tokens: int = Field(256, ge=1)
    """Tokens after which one is cut off."""
    generation_batch_size: int = Field(256, ge=1)
    """Sequences generated at once."""
    max_prompts: int | None = Field(None, ge=1)
    """Prompts that own responses are sampled to, the first of the training prompts; all when left out."""
    best_per_prompt: int = Field(1, ge=1)
    """Responses to each prompt that are taught: those with the highest rewards."""
    min_reward: float | None = None
    """Least reward of one that is taught; any is good enough when left out."""


class BestOfConfig(OptimizerConfig):
    """Best of n at answering: nothing is trained; of n samples the one that a reward likes best is the answer."""

    n: int = Field(8, ge=2)
    """Samples to each prompt."""
    temperature: float = Field(1.0, gt=0)
    """Their sampling temperature, whatever a benchmark asks for."""
