"""PPO as a training method: refine a student against any reward, held close to where it started."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from retort.config.training import PPOConfig
from retort.plugins import Method, Training

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from retort.trainers.ppo.rollout import Parts, Prompt


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
        TrainingError: a loss or gradient is not a finite number.
    """
    from retort.modeling.fsdp import save_whole
    from retort.trainers.ppo.models import trained_student
    from retort.trainers.ppo.trainer import train as train_ppo

    config: PPOConfig = training.settings
    parts = _parts(training)
    with _open_agreement(training, parts):
        state = train_ppo(
            parts,
            config,
            training.answer,
            seed=training.seed,
            state_folder=training.state,
            curves_folder=training.curves,
        )
    save_whole(trained_student(parts.policy), parts.tokenizer, training.out)
    return PPOResult(
        iterations=state.iteration,
        episodes=state.iteration * config.prompts_per_iteration * config.responses_per_prompt,
        first_agreement=state.first_agreement,
        best_agreement=state.best_agreement,
        prompts=len(parts.prompts),
        unlabelled_episodes=state.unlabelled_episodes,
        best_iteration=state.best_iteration,
        stopped_early=state.iteration < config.iterations,
        alarms=[f"iteration {alarm.iteration}: {alarm.message}" for alarm in state.alarms],
        tokens=state.tokens,
        flops=state.flops,
    )


@contextmanager
def _open_agreement(training: Training, parts: Parts) -> Iterator[None]:
    """Where prompts are open-ended, have the judge say which held-out responses agree with their label."""
    if training.judging is None:
        yield
        return
    with training.judging() as agree_with:

        def agree(prompts: Sequence[Prompt], texts: Sequence[str]) -> list[bool]:
            asked = [(p.prompt_id, p.text, text, p.label or "") for p, text in zip(prompts, texts, strict=True)]
            return [found is True for found in agree_with(asked)]

        parts.agree = agree
        yield


def _parts(training: Training) -> Parts:
    from transformers import set_seed

    from retort.errors import InputError
    from retort.modeling.loading import context_length, load_model, load_tokenizer
    from retort.trainers.ppo.models import ppo_models
    from retort.trainers.ppo.rollout import Parts

    config: PPOConfig = training.settings
    assert training.reward is not None, "the method says that it is trained against one"
    assert training.votes is not None, "the method says that it reads them"
    set_seed(training.seed)
    tokenizer, base = load_tokenizer(training.start), load_model(training.start)
    reward = training.reward()
    limit = context_length(base)
    train_prompts = [
        prompt
        for use in ("train", "unlabelled")
        if use in training.prompts
        for prompt in _prompts(training, tokenizer, use, limit)
    ]
    held_out = [prompt for prompt in _prompts(training, tokenizer, "validation", limit) if prompt.label is not None]
    if not held_out:
        raise InputError(
            "no held-out prompt has a label: agreement with the vote cannot be watched",
            file=training.votes,
            field="label",
            remedy="Hold more prompts out (prompts.validation) or loosen votes.min_share",
        )
    policy, critic, reference = ppo_models(training.start, config, base, tokenizer, reward)
    return Parts(
        policy=policy,
        critic=critic,
        reference=reference,
        reward=reward,
        start=training.start.name,
        tokenizer=tokenizer,
        prompts=train_prompts,
        held_out=held_out[: config.validation_limit],
    )


def _prompts(training: Training, tokenizer: PreTrainedTokenizerFast, use: str, limit: int) -> list[Prompt]:
    from retort.io.tables import PROMPTS, VOTES, read_table
    from retort.modeling.chat import check_prompt_length, prompt_ids
    from retort.trainers.ppo.rollout import Prompt

    assert training.votes is not None, "the method says that it reads them"
    file = training.prompts[use]
    labels = {row["prompt_id"]: row["label"] for row in read_table(training.votes, VOTES) if not row["abstained"]}
    prompts = []
    for row in read_table(file, PROMPTS):
        ids = prompt_ids(tokenizer, row["prompt"])
        check_prompt_length(
            len(ids), training.settings.max_new_tokens, limit, prompt_id=row["prompt_id"], file=str(file)
        )
        label = labels.get(row["prompt_id"])
        prompts.append(Prompt(row["prompt_id"], row["prompt"], ids, label, answered=use != "unlabelled"))
    return prompts


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
