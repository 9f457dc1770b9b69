"""The prompts that a reward trains a student on, and the held-out ones that it is watched on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from retort.errors import InputError
from retort.io.tables import PROMPTS, VOTES, read_table
from retort.modeling.chat import check_prompt_length, prompt_ids
from retort.plugins import Training

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True)
class TrainingPrompt:
    """A prompt as text and tokens; `label` is the vote's answer where it is used to measure agreement."""

    prompt_id: str
    text: str
    ids: list[int]
    label: str | None = None
    answered: bool = True
    """Whether the teacher answered it."""


def train_prompts(training: Training, tokenizer: PreTrainedTokenizerFast, limit: int) -> list[TrainingPrompt]:
    """The prompts that episodes are drawn from, those that the teacher never answers among them.

    Args:
        training: What the method is given; its settings say how long responses may get (`max_new_tokens`).
        tokenizer: The student's.
        limit: Tokens that the student can read.

    Raises:
        InputError: a prompt with its response would not fit.
    """
    return [
        prompt
        for use in ("train", "unlabelled")
        if use in training.prompts
        for prompt in _prompts(training, tokenizer, use, limit)
    ]


def held_out_prompts(training: Training, tokenizer: PreTrainedTokenizerFast, limit: int) -> list[TrainingPrompt]:
    """The held-out prompts that have a label, as many as the settings want (`validation_limit`).

    Raises:
        InputError: none has one, or a prompt with its response would not fit.
    """
    assert training.votes is not None, "the method says that it reads them"
    found = [prompt for prompt in _prompts(training, tokenizer, "validation", limit) if prompt.label is not None]
    if not found:
        raise InputError(
            "no held-out prompt has a label: agreement with the vote cannot be watched",
            file=training.votes,
            field="label",
            remedy="Hold more prompts out (prompts.validation) or loosen votes.min_share",
        )
    return found[: training.settings.validation_limit]


def draw_prompts(prompts: Sequence[TrainingPrompt], config: Any, *, seed: int, iteration: int) -> list[TrainingPrompt]:
    """The prompts of one iteration, each repeated for its responses."""
    first = iteration * config.prompts_per_iteration
    chosen = in_order(prompts, range(first, first + config.prompts_per_iteration), seed=seed)
    return [prompt for prompt in chosen for _ in range(config.responses_per_prompt)]


def in_order(prompts: Sequence[TrainingPrompt], positions: range, *, seed: int) -> Iterator[TrainingPrompt]:
    """The prompts at `positions` of an endless sequence: epoch by epoch, each in an order fixed by the seed."""
    orders: dict[int, Tensor] = {}
    for position in positions:
        epoch, place = divmod(position, len(prompts))
        if epoch not in orders:
            orders = {epoch: torch.randperm(len(prompts), generator=torch.Generator().manual_seed(seed * 7919 + epoch))}
        yield prompts[int(orders[epoch][place])]


def _prompts(training: Training, tokenizer: PreTrainedTokenizerFast, use: str, limit: int) -> list[TrainingPrompt]:
    file, labels = training.prompts[use], {}
    if training.votes is not None:
        labels = {row["prompt_id"]: row["label"] for row in read_table(training.votes, VOTES) if not row["abstained"]}
    prompts = []
    for row in read_table(file, PROMPTS):
        ids = prompt_ids(tokenizer, row["prompt"])
        check_prompt_length(
            len(ids), training.settings.max_new_tokens, limit, prompt_id=row["prompt_id"], file=str(file)
        )
        label = labels.get(row["prompt_id"])
        prompts.append(TrainingPrompt(row["prompt_id"], row["prompt"], ids, label, answered=use != "unlabelled"))
    return prompts
