"""Stages `sft` and `sft_equal_compute`: the student's warm-up, and the baseline that gets PPO's compute as well."""

from __future__ import annotations

import json
from dataclasses import dataclass

from retort.errors import InputError
from retort.io.tables import PROMPTS, RESPONSES, VOTES, read_table, read_tables
from retort.run.stage import Context
from retort.stages.judgements import read_judged
from retort.trainers.sft.examples import agreeing_responses
from retort.trainers.sft.train import Trained, train_sft


@dataclass(frozen=True)
class SFTResult:
    """Metrics of a fine-tuning stage."""

    trained: Trained | None
    """What was trained; null where the baseline is turned off."""
    extra_steps: int = 0
    """Optimizer steps beyond the warm-up's."""
    capped: bool = False
    """Whether `max_extra_steps` kept the baseline below PPO's compute."""


def run(context: Context) -> SFTResult:
    """Fine-tune the base student on the teacher's responses that agree with the vote.

    The baseline trains from the same base on the same data, for as many more steps as PPO's compute pays for.

    Raises:
        InputError: no response agrees with the vote.
        TrainingError: see `retort.trainers.sft.train.train_sft`.
    """
    config, paths, name = context.config, context.paths, context.name
    extra, capped = 0, False
    if name == "sft_equal_compute":
        if not config.sft_equal_compute.enabled:
            paths.curves(name).mkdir(parents=True, exist_ok=True)
            paths.model(name).mkdir(parents=True, exist_ok=True)
            return SFTResult(trained=None)
        extra, capped = _extra_steps(context)
    shards = [paths.responses("teacher_responses", shard) for shard in config.teacher_responses.shards]
    examples = agreeing_responses(
        read_table(paths.prompts("train"), PROMPTS),
        read_tables(shards, RESPONSES),
        read_table(paths.votes, VOTES),
        config.answer,
        max_per_prompt=config.sft.max_per_prompt,
        seed=config.seed,
        judged=read_judged(context) if config.answer == "open" else None,
        reasoning=config.sft.reasoning == "keep",
    )
    if not examples:
        raise InputError(
            "no teacher response to a training prompt agrees with the vote",
            file=paths.votes,
            field="label",
            remedy="Look at metrics/votes.json: a teacher that is never read or always abstains teaches nothing",
        )
    trained = train_sft(
        paths.model("base"),
        examples,
        config.sft,
        steps=config.sft.steps + extra,
        seed=config.seed,
        state=context.state(),
        curves_folder=paths.curves(name),
        out=paths.model(name),
    )
    return SFTResult(trained, extra, capped)


def _extra_steps(context: Context) -> tuple[int, bool]:
    """Steps of fine-tuning that cost what PPO cost, and whether the configuration's bound cut them."""
    ppo = json.loads(context.paths.metrics("ppo").read_text(encoding="utf-8"))
    sft = json.loads(context.paths.metrics("sft").read_text(encoding="utf-8"))["trained"]
    steps = round(ppo["flops"] / (sft["flops"] / sft["steps"]))
    bound = context.config.sft_equal_compute.max_extra_steps
    return (bound, True) if bound is not None and steps > bound else (steps, False)
