"""PPO as a training method: refine a student against any reward, held close to where it started."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from retort import plugins
from retort.config.training import PPOConfig
from retort.plugins import Method, RolloutContext, Training

if TYPE_CHECKING:
    from retort.trainers.ppo.rollout import PPOModels
    from retort.trainers.ppo.served import Served


@dataclass(frozen=True)
class PPOResult:
    """Metrics of PPO."""

    iterations: int
    episodes: int
    first_agreement: float | None
    """Agreement with the vote on held-out prompts before the first update."""
    best_agreement: float | None
    prompts: int
    """Prompts that it drew from, those that the teacher never answered included."""
    unlabelled_episodes: int
    """Episodes whose prompt the teacher never answered."""
    best_iteration: int
    """Iteration whose policy is the result; 0 is the student that it started from."""
    stopped_early: bool
    alarms: list[str] = field(default_factory=list)
    """Known failures that the curves showed, with the iteration."""
    tokens: int = 0
    """Tokens of all rollouts, prompts included."""
    flops: float = 0.0
    """Compute of rollouts, scoring and updates, 2 x parameters a forward token and 6 x a trained one."""


def train(training: Training) -> PPOResult:
    """Train with PPO and write the policy that agreed best with the vote on held-out prompts.

    Raises:
        InputError: no held-out prompt has a vote, a prompt is too long for the model, or the reward model is another
            student's.
        TrainingError: a loss or gradient is not a finite number, or what samples has other weights.
        EngineError: what samples failed.
    """
    from retort.modeling.fsdp import save_full
    from retort.trainers.ppo.models import trained_student
    from retort.trainers.ppo.trainer import train as train_ppo
    from retort.trainers.shared.agreement import open_agreement

    config: PPOConfig = training.settings
    models = _models(training)
    with _serving(training, models) as models.served, open_agreement(training) as models.agree:
        state = train_ppo(
            models,
            config,
            training.answer,
            seed=training.seed,
            state_folder=training.state,
            curves_folder=training.curves,
        )
    save_full(trained_student(models.policy), models.tokenizer, training.out)
    return PPOResult(
        iterations=state.iteration,
        episodes=state.iteration * config.prompts_per_iteration * config.responses_per_prompt,
        first_agreement=state.first_agreement,
        best_agreement=state.best_agreement,
        prompts=len(models.prompts),
        unlabelled_episodes=state.unlabelled_episodes,
        best_iteration=state.best_iteration,
        stopped_early=state.iteration < config.iterations,
        alarms=[f"iteration {alarm.iteration}: {alarm.message}" for alarm in state.alarms],
        tokens=state.tokens,
        flops=state.flops,
    )


def _models(training: Training) -> PPOModels:
    from transformers import set_seed

    from retort.errors import TrainingError
    from retort.modeling.loading import context_length, load_model, load_tokenizer
    from retort.modeling.process_group import process_group
    from retort.trainers.ppo.models import ppo_models
    from retort.trainers.ppo.rollout import PPOModels
    from retort.trainers.shared.prompts import held_out_prompts, train_prompts

    config: PPOConfig = training.settings
    assert training.reward is not None, "the method says that it is trained against one"
    set_seed(training.seed)
    tokenizer, base = load_tokenizer(training.start), load_model(training.start)
    reward = training.reward()
    if getattr(reward, "grouped", False) and config.prompts_per_iteration % process_group().size:
        raise TrainingError(
            f"rewards.{reward.name}: compares the responses to one prompt, which {process_group().size} processes "
            f"would share where prompts_per_iteration is {config.prompts_per_iteration}. Choose a multiple."
        )
    limit = context_length(base)
    prompts, held_out = train_prompts(training, tokenizer, limit), held_out_prompts(training, tokenizer, limit)
    policy, critic, reference = ppo_models(training.start, config, base, tokenizer, reward)
    return PPOModels(
        policy=policy,
        critic=critic,
        reference=reference,
        reward=reward,
        start=training.start.name,
        tokenizer=tokenizer,
        prompts=prompts,
        held_out=held_out,
    )


@contextmanager
def _serving(training: Training, models: PPOModels) -> Iterator[Served | None]:
    """What samples in the policy's place, as `rollout_engine` says; None where the policy is sampled from itself."""
    from retort.trainers.ppo.rollout import pad_token
    from retort.trainers.ppo.served import CHECKED_TOKENS, Served

    config: PPOConfig = training.settings
    make, place = plugins.load("engine", config.rollout_engine.type).rollouts, "ppo.rollout_engine"
    prompts = [prompt.ids for prompt in (*models.held_out, *models.prompts)]
    context = RolloutContext(
        config.rollout_engine,
        folder=training.start,
        root=training.out.absolute().parents[2],
        place=place,
        student=training.student,
        length=max(map(len, prompts)) + max(config.max_new_tokens, CHECKED_TOKENS),
        dtype="bfloat16" if config.autocast else str(models.policy.dtype).removeprefix("torch."),
        ends=models.ends,
        adapter_rank=None if config.lora is None else config.lora.rank,
    )
    rollouts = None if make is None else make(context)
    if rollouts is None:
        yield None
        return
    with closing(rollouts):
        yield Served(rollouts, prompts, pad=pad_token(models), place=place)


METHOD = Method(
    "ppo",
    PPOConfig,
    train,
    reads=frozenset({"votes", "unlabelled"}),
    rewarded=True,
    summary="Refine a student against a reward, held close to where it started by a KL penalty.",
    plan="retort.plan.ppo:plan",
    curves=("reward", "agreement", "kl", "entropy", "response_tokens"),
    figures=("iterations", "first_agreement", "best_agreement"),
)
