"""Settings of the stages that train: SFT, reward model, PPO."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from retort.config.base import Strict
from retort.config.models import TransformersEngineConfig
from retort.config.rollouts import RolloutEngine


class LoraConfig(Strict):
    """Low-rank adapters instead of full fine-tuning; merged into the weights that a student is saved with."""

    rank: int = Field(16, ge=1)
    """Rank of the adapters."""
    alpha: int = Field(32, ge=1)
    """Scale of the adapters, divided by the rank."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout on the adapters' input."""
    target_modules: list[str] | Literal["all-linear"] = "all-linear"
    """Modules that get adapters."""


class OptimizerConfig(Strict):
    """What every training stage sets of its optimizer (AdamW)."""

    learning_rate: float = Field(1e-4, gt=0)
    """Peak learning rate."""
    warmup_steps: int = Field(0, ge=0)
    """Steps of linear warm-up."""
    weight_decay: float = Field(0.0, ge=0)
    """Decoupled weight decay."""
    max_grad_norm: float = Field(1.0, gt=0)
    """Gradients are scaled down to this norm."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""
    sharding: Literal["none", "full_shard"] = "none"
    """What each of several processes holds of what it trains: all, or with `full_shard` its share of weights, gradients
    and optimizer states (FSDP, Zhao et al. 2023), a layer's weights being gathered when they are needed."""

    @model_validator(mode="after")
    def _adapters_are_not_sharded(self) -> Self:
        if self.sharding != "none" and getattr(self, "lora", None) is not None:
            raise ValueError("sharding and lora exclude each other: take lora, or full fine-tuning sharded")
        return self


class TrainerConfig(OptimizerConfig):
    """What every method that TRL trains sets of the training itself."""

    micro_batch_size: int | None = Field(None, ge=1)
    """Examples a forward pass; the rest of a step's is accumulated."""
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    """Course of the learning rate after warm-up."""
    lora: LoraConfig | None = None
    """Adapters; full fine-tuning when left out."""


class StepsConfig(TrainerConfig):
    """What methods set that learn from examples which are there before training."""

    NOT_CONTENT: ClassVar[frozenset[str]] = frozenset({"checkpoint_steps"})

    steps: int = Field(200, ge=1)
    """Optimizer steps."""
    batch_size: int = Field(32, ge=1)
    """Examples a step, over all devices and accumulation."""
    max_length: int = Field(1024, ge=8)
    """Longest example in tokens; longer ones are left out and counted."""
    checkpoint_steps: int = Field(100, ge=1)
    """Steps between checkpoints that a killed stage resumes from."""


class SFTConfig(StepsConfig):
    """Supervised fine-tuning of the student on the teacher's responses."""

    responses: Literal["agreeing", "all"] = "agreeing"
    """The teacher's responses that are taught: those that agree with the vote, or all that ended by themselves."""
    max_per_prompt: int | None = Field(None, ge=1)
    """Responses used of each prompt; all when left out."""
    reasoning: Literal["keep", "drop"] = "keep"
    """Whether the reasoning that a teacher gives apart from its response is taught before it, in the teacher's tags."""


class RewardConfig(OptimizerConfig):
    """The pointwise reward model, a reward of type `model`."""

    trunk: str = "sft"
    """Model or student whose trunk the reward model starts from. It reads text, so tokenizers may differ."""
    likelihood: list[str] = ["sft"]
    """Models and students, frozen, whose token log-probabilities the head sees beside the hidden states."""
    responses: list[str] = ["teacher", "sft"]
    """Whose responses it learns from and is measured on: the teacher's, and those of students."""
    train_trunk: bool = True
    """Train the trunk too, not the head alone."""
    loss: Literal["last_token", "every_token"] = "last_token"
    """Where the response's label is asked for: after its last token, or after every token (Cobbe et al. 2021, §4.3),
    where the head sees no more than the tokens so far. Scores are those of the last token either way."""
    class_weight: Literal["none", "balanced"] | Annotated[float, Field(gt=0)] = "balanced"
    """Weight of an agreeing response in the loss relative to another: 1, such that both classes weigh the same, or a
    number. It saves what `reward_data.balance` would drop; calibration takes it out of the scores again."""
    head_size: int = Field(64, ge=1)
    """Hidden width of the head."""
    steps: int = Field(400, ge=1)
    """Optimizer steps."""
    batch_size: int = Field(64, ge=1)
    """Examples a step."""
    micro_batch_size: int | None = Field(None, ge=1)
    """Examples a forward pass; the rest of `batch_size` is accumulated."""
    head_learning_rate: float | None = Field(None, gt=0)
    """Learning rate of the head; that of the trunk when left out."""
    max_length: int = Field(1024, ge=8)
    """Longest prompt with response in tokens; longer ones are left out and counted."""
    evaluate_steps: int = Field(100, ge=1)
    """Steps between evaluations on held-out prompts; the best state is kept."""
    min_per_class: int = Field(10, ge=0)
    """Gate: PPO runs only if so many held-out student responses have each label; fewer make the figures chance. With 0
    the teacher's responses stand in for a student that gives one label only."""
    min_auc: float = Field(0.75, ge=0, le=1)
    """Gate: PPO runs only if the AUC on held-out prompts' student responses reaches this."""
    max_calibration_error: float = Field(0.2, gt=0, le=1)
    """Gate: PPO runs only if the expected calibration error (15 bins) is at most this."""
    gate: Literal["estimate", "interval"] = "estimate"
    """What the gate compares with its bounds: the figures themselves, or the worse ends of their 95 % intervals,
    for runs whose PPO is dear."""
    lora: LoraConfig | None = None
    """Adapters on the trunk; full fine-tuning when left out."""


class KLConfig(Strict):
    """Penalty for leaving the SFT student."""

    coefficient: float = Field(0.05, ge=0)
    """Initial weight of the KL estimate in the reward."""
    target: float | None = Field(None, gt=0)
    """KL a response (nats) that an adaptive controller steers to (Ziegler et al. 2019, §2.2); fixed when left out."""
    horizon: int = Field(10_000, ge=1)
    """Episodes over which the controller changes the coefficient by at most the factor 1.2 (or 0.8)."""
    estimator: Literal["k1", "k2", "k3"] = "k1"
    """Estimator of the penalty at each token (Schulman 2020): k1 is unbiased, k2 and k3 vary less; k3 never pays."""


class AlarmsConfig(Strict):
    """Known ways in which PPO fails, watched in its curves and shown in the report."""

    action: Literal["warn", "stop"] = "warn"
    """Whether an alarm also ends training; the best policy so far is the result either way."""
    window: int = Field(10, ge=1)
    """Iterations that a figure is averaged over."""
    agreement_drop: float = Field(0.05, gt=0, le=1)
    """Alarm when held-out agreement is so far below its best while the reward has risen: the reward is being gamed."""
    entropy_floor: float = Field(0.1, ge=0, lt=1)
    """Alarm when the entropy a token falls below this share of what it was at first."""
    max_kl: float = Field(50.0, gt=0)
    """Alarm when the KL to the SFT student exceeds so many nats a response."""
    length_drift: float = Field(0.5, gt=0)
    """Alarm when responses are longer or shorter than at first by this share."""


class PPOConfig(OptimizerConfig):
    """PPO against a reward."""

    NOT_CONTENT: ClassVar[frozenset[str]] = frozenset({"checkpoint_every"})

    iterations: int = Field(100, ge=1)
    """Rounds of rollout and update."""
    prompts_per_iteration: int = Field(64, ge=1)
    """Prompts drawn for each rollout."""
    responses_per_prompt: int = Field(4, ge=1)
    """Responses sampled to each."""
    temperature: float = Field(1.0, gt=0)
    """Sampling temperature; log-probabilities are taken at the same one."""
    max_new_tokens: int = Field(256, ge=1)
    """Tokens after which a response is cut off."""
    generation_batch_size: int = Field(256, ge=1)
    """Sequences generated at once."""
    rollout_engine: RolloutEngine = TransformersEngineConfig()
    """What samples: `transformers` in the trainer's process, `vllm` beside it, or `auto`. vLLM gets the policy's
    weights after each update, and training stops where its log-probabilities are not the trainer's."""
    epochs: int = Field(1, ge=1)
    """Passes over a rollout."""
    minibatch_size: int = Field(64, ge=1)
    """Episodes an optimizer step."""
    micro_batch_size: int | None = Field(None, ge=1)
    """Episodes a forward pass; the rest of the minibatch is accumulated."""
    clip: float = Field(0.2, gt=0, lt=1)
    """Half-width of the interval that the probability ratio is clipped to (PPO, eq. 7)."""
    sampler_cap: float | None = Field(2.0, ge=1)
    """Largest weight of a token by which the policy's loss corrects for the sampler's arithmetic (truncated importance
    sampling); no correction when left out."""
    value_clip: float | None = Field(0.2, gt=0)
    """Half-width of the interval that value predictions are clipped to; off when left out."""
    critic_init: Literal["policy", "reward"] = "policy"
    """Model whose trunk the critic starts from: the SFT student, or the reward model if it reads the same tokens."""
    critic_learning_rate: float | None = Field(None, gt=0)
    """Learning rate of the critic; the policy's when left out."""
    critic_head_learning_rate: float | None = Field(None, gt=0)
    """Learning rate of the critic's new head; that of its trunk when left out."""
    critic_head_size: int = Field(64, ge=1)
    """Hidden width of that head."""
    critic_warmup: int = Field(5, ge=0)
    """Iterations that train the critic alone."""
    critic_warmup_epochs: int = Field(4, ge=1)
    """Passes over a rollout in those."""
    gamma: float = Field(1.0, gt=0, le=1)
    """Discount a token."""
    lam: float = Field(0.95, ge=0, le=1)
    """Lambda of generalised advantage estimation for the policy (Schulman et al. 2016, eq. 16): low where the critic
    is good, so that the advantage of a slip does not reach the tokens before it."""
    critic_lam: float = Field(1.0, ge=0, le=1)
    """Lambda of the critic's returns; 1 is Monte Carlo, which cannot flatter itself (decoupled GAE, Yuan et al. 2025,
    arXiv 2503.01491, §3.2)."""
    whiten_advantages: bool = True
    """Shift and scale a rollout's advantages to mean 0, variance 1."""
    prompt_baseline: bool = False
    """Subtract from a response's score the mean score of the other responses to its prompt (RLOO, Ahmadian et al.
    2024, eq. 7), so that the critic only explains what happens within a prompt."""
    missing_eos_penalty: float = Field(0.5, ge=0)
    """Taken from the reward of a response that was cut off."""
    length_penalty: float = Field(0.0, ge=0)
    """Taken from the reward of a response of `max_new_tokens` tokens; shorter ones lose their share of it."""
    normalise_reward: bool = False
    """Shift and scale rewards by the mean and standard deviation of all so far."""
    reward_clip: float | None = Field(None, gt=0)
    """Rewards beyond this are cut to it, after normalising; off when left out."""
    kl: KLConfig = KLConfig()
    """Penalty for leaving the SFT student."""
    average: float = Field(0.0, ge=0, lt=1)
    """Decay an iteration of the moving average of the policy's weights that is measured and kept (Ramé et al. 2024,
    WARP, §3.1); 0 keeps the weights themselves. It takes out the noise that single updates leave in the weights."""
    evaluate_every: int = Field(10, ge=1)
    """Iterations between measurements of agreement with the vote on held-out prompts."""
    evaluate_temperature: float = Field(0.0, ge=0)
    """Temperature of the responses whose agreement is measured: 0 is greedy."""
    patience: int = Field(5, ge=1)
    """Measurements without a new best after which training stops early."""
    checkpoint_every: int = Field(10, ge=1)
    """Iterations between checkpoints that a killed stage resumes from."""
    validation_limit: int = Field(500, ge=1)
    """Held-out prompts used for that measurement."""
    alarms: AlarmsConfig = AlarmsConfig()
    """Known failures to watch for."""
    autocast: bool = False
    """Compute passes in bfloat16 over weights and optimizer states that stay in their own precision."""
    lora: LoraConfig | None = None
    """Adapters on policy and critic, which then share one copy of the frozen weights with the reference; full
    fine-tuning when left out."""

    @model_validator(mode="after")
    def _sharded_weights_are_not_served(self) -> PPOConfig:
        if self.sharding != "none" and self.rollout_engine.type != "transformers":
            raise ValueError(
                f"sharding and rollout_engine {self.rollout_engine.type} exclude each other: a server of each process "
                "would hold all weights. Take lora, or rollout_engine: {type: transformers}"
            )
        return self

    @model_validator(mode="after")
    def _minibatches_divide_the_rollout(self) -> PPOConfig:
        episodes = self.prompts_per_iteration * self.responses_per_prompt
        if episodes % self.minibatch_size:
            raise ValueError(f"minibatch_size {self.minibatch_size} does not divide the {episodes} episodes a rollout")
        return self
