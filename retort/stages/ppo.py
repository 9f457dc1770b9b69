"""Stage `ppo`: refine the SFT student against the reward model, if the reward model passed its gate."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from retort.errors import InputError
from retort.io.files import atomic_path
from retort.io.tables import PROMPTS, VOTES, Rows, read_table
from retort.run.stage import Context

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from retort.trainers.ppo.rollout import Parts, Prompt


@dataclass(frozen=True)
class PPOResult:
    """Metrics of PPO."""

    skipped: bool
    """Whether the gate kept PPO from training; the student is then the SFT student."""
    reasons: list[str]
    """Why it was skipped."""
    iterations: int = 0
    episodes: int = 0
    first_agreement: float | None = None
    """Agreement with the vote on held-out prompts before the first update."""
    best_agreement: float | None = None
    best_iteration: int = 0
    """Iteration whose policy is the result; 0 is the SFT student."""
    stopped_early: bool = False
    alarms: list[str] = field(default_factory=list)
    """Known failures that the curves showed, with the iteration."""
    tokens: int = 0
    """Tokens of all rollouts, prompts included."""
    flops: float = 0.0
    """Compute of rollouts, scoring and updates, 2 x parameters a forward token and 6 x a trained one."""


def run(context: Context) -> PPOResult:
    """Train with PPO, or pass the SFT student on where the reward model failed its gate.

    Raises:
        InputError: no held-out prompt has a vote, a prompt is too long for the model, or the reward model is another
            student's.
        TrainingError: a loss or gradient is not a finite number.
    """
    paths = context.paths
    gate = json.loads(paths.metrics("reward").read_text(encoding="utf-8"))
    if not gate["gate_passed"]:
        with atomic_path(paths.model("ppo")) as folder:
            shutil.copytree(paths.model("sft"), folder)
        paths.curves("ppo").mkdir(parents=True, exist_ok=True)
        return PPOResult(skipped=True, reasons=gate["gate_reasons"])

    from retort.modeling.fsdp import save_whole
    from retort.trainers.ppo.models import trained_student
    from retort.trainers.ppo.trainer import train

    config, state_folder = context.config.ppo, context.state()
    parts = _parts(context)
    with _open_agreement(context, parts):
        state = train(
            parts,
            config,
            context.config.answer,
            seed=context.config.seed,
            state_folder=state_folder,
            curves_folder=paths.curves("ppo"),
        )
    save_whole(trained_student(parts.policy), parts.tokenizer, paths.model("ppo"))
    return PPOResult(
        skipped=False,
        reasons=[],
        iterations=state.iteration,
        episodes=state.iteration * config.prompts_per_iteration * config.responses_per_prompt,
        first_agreement=state.first_agreement,
        best_agreement=state.best_agreement,
        best_iteration=state.best_iteration,
        stopped_early=state.iteration < config.iterations,
        alarms=[f"iteration {alarm.iteration}: {alarm.message}" for alarm in state.alarms],
        tokens=state.tokens,
        flops=state.flops,
    )


@contextmanager
def _open_agreement(context: Context, parts: Parts) -> Iterator[None]:
    """Where prompts are open-ended, have the judge say which held-out responses agree with their label."""
    if context.config.answer != "open":
        yield
        return
    from retort.judge.ask import Pair
    from retort.judge.elect import agree_with
    from retort.stages.judging import judging

    with judging(context) as judge:

        def agree(prompts: Sequence[Prompt], texts: Sequence[str]) -> list[bool]:
            asked = [Pair(p.prompt_id, p.text, text, p.label or "") for p, text in zip(prompts, texts, strict=True)]
            return [found is True for found in agree_with(judge, asked)]

        parts.agree = agree
        yield


def _parts(context: Context) -> Parts:
    from transformers import set_seed

    from retort.modeling.loading import context_length, load_model, load_tokenizer
    from retort.rewards.learned.model import RewardModel
    from retort.trainers.ppo.models import ppo_models
    from retort.trainers.ppo.rollout import Parts

    config, paths = context.config.ppo, context.paths
    set_seed(context.config.seed)
    sft = paths.model("sft")
    tokenizer, base = load_tokenizer(sft), load_model(sft)
    reward = RewardModel.load(paths.model("reward"), {name: paths.model(name) for name in ("teacher", "sft")})
    reward.check_reads_like(tokenizer)
    shared = [judge for judge in reward.judges.values() if judge.reads_like(tokenizer)]
    limit = context_length(base)
    train_prompts = _prompts(context, tokenizer, "train", limit)
    held_out = [prompt for prompt in _prompts(context, tokenizer, "validation", limit) if prompt.label is not None]
    if not held_out:
        raise InputError(
            "no held-out prompt has a label: agreement with the vote cannot be watched",
            file=paths.votes,
            field="label",
            remedy="Hold more prompts out (prompts.validation) or loosen votes.min_share",
        )
    policy, critic, reference = ppo_models(paths, config, base, tokenizer, reward, judges=len(shared))
    return Parts(
        policy=policy,
        critic=critic,
        reference=reference,
        reward=reward,
        tokenizer=tokenizer,
        prompts=train_prompts,
        held_out=held_out[: config.validation_limit],
    )


def _prompts(context: Context, tokenizer: PreTrainedTokenizerFast, split: str, limit: int) -> list[Prompt]:
    from retort.modeling.chat import check_prompt_length, prompt_ids
    from retort.trainers.ppo.rollout import Prompt

    file = context.paths.prompts(split)
    rows: Rows = read_table(file, PROMPTS)
    labels = {row["prompt_id"]: row["label"] for row in read_table(context.paths.votes, VOTES) if not row["abstained"]}
    prompts = []
    for row in rows:
        ids = prompt_ids(tokenizer, row["prompt"])
        check_prompt_length(
            len(ids), context.config.ppo.max_new_tokens, limit, prompt_id=row["prompt_id"], file=str(file)
        )
        prompts.append(Prompt(row["prompt_id"], row["prompt"], ids, labels.get(row["prompt_id"])))
    return prompts
