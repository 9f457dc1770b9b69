"""Stages `teacher_responses` and `student_responses`: sample responses to one shard of the prompts."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from retort.config.data import ResponsesConfig
from retort.engines.base import Engine, Request, Response, plan_requests
from retort.engines.log import answer
from retort.engines.make import make_engine
from retort.errors import InputError
from retort.io import tables
from retort.run.stage import Context
from retort.text.finish_reasons import LENGTH, is_whole

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ResponsesResult:
    """Metrics of one shard."""

    model: str
    prompts: int
    prompts_without_response: int
    responses: int
    empty: int
    """Responses without text; kept, because a vote counts them."""
    finish_reasons: dict[str, int]
    cut_off_rate: float
    prompt_tokens: int
    """Tokens of the formatted prompts, counted once a response."""
    response_tokens: int
    mean_response_tokens: float
    cost: float
    """Price of the tokens, in the unit of the configured prices."""
    flops: float
    """2 x parameters x tokens (Kaplan et al. 2020, §2.1), for a model run here; 0 otherwise."""


def run(context: Context) -> ResponsesResult:
    """Sample this shard's responses; resumes after a kill with what is missing.

    Raises:
        InputError: there are no prompts, one is too long, most responses are empty, or the teacher ended none.
        EngineError: the engine failed after its own retries; run the stage again.
    """
    teacher = context.task.stage.name == "teacher_responses"
    sampling: ResponsesConfig = getattr(context.config, context.task.stage.name)
    shard = int(context.task.values["shard"])
    requests = _requests(context, sampling, shard)
    engine = make_engine(
        context.config.teacher if teacher else None,
        context.paths.model("teacher" if teacher else "sft"),
        root=context.paths.root,
        file="outputs/prompts",
        training=not teacher,
    )
    log = context.state() / "responses.jsonl"
    with engine:
        responses = answer(engine, requests, sampling, log, words=f"{context.name} ({engine.model})")
    out = context.paths.responses(context.task.stage.name, shard)
    _check(responses, out, sampling, teacher=teacher)
    tables.write_table(out, [one.row("teacher" if teacher else "student") for one in responses], tables.RESPONSES)
    return _result(engine, requests, responses)


def _requests(context: Context, sampling: ResponsesConfig, shard: int) -> list[Request]:
    rows = tables.read_tables([context.paths.prompts(split) for split in ("train", "validation")], tables.PROMPTS)
    mine = rows[shard :: len(sampling.shards)]
    if not mine:
        raise InputError(
            f"{len(rows)} prompts for {len(sampling.shards)} shards leave shard {shard} without any",
            file=context.paths.prompts("train"),
            remedy=f"Give more prompts, or fewer {context.task.stage.name}.shards",
        )
    return plan_requests(mine, sampling, seed=context.config.seed, stage=context.task.stage.name)


def _check(responses: list[Response], out: Path, sampling: ResponsesConfig, *, teacher: bool) -> None:
    empty = sum(not one.response.strip() for one in responses)
    if 2 * empty > len(responses):
        raise InputError(
            f"{empty} of {len(responses)} responses are empty, so nothing is written",
            file=out,
            field="response",
            remedy="Check the model's chat template and end token, raise max_new_tokens, or use another model",
        )
    if not any(is_whole(one.finish_reason) for one in responses):
        if all(one.finish_reason == LENGTH for one in responses):
            problem = f"all {len(responses)} responses were cut off at {sampling.max_new_tokens} tokens (endless text)"
        else:
            how = ", ".join(f"{reason} {count}" for reason, count in _reasons(responses).items())
            problem = f"none of {len(responses)} responses is whole (finish reasons: {how})"
        remedy = "Raise max_new_tokens, or check the model's chat template and end token"
        if teacher:
            raise InputError(f"{problem}, so nothing is written", file=out, field="finish_reason", remedy=remedy)
        # A student that rambles can still be taught: the reward model sees such responses and PPO punishes them.
        logger.warning("%s: %s. %s", out, problem, remedy)


def _reasons(responses: list[Response]) -> dict[str, int]:
    return dict(sorted(Counter(one.finish_reason for one in responses).items()))


def _result(engine: Engine, requests: list[Request], responses: list[Response]) -> ResponsesResult:
    prompts = {request.prompt_id for request in requests}
    prompt_tokens = sum(one.prompt_tokens for one in responses)
    response_tokens = sum(one.response_tokens for one in responses)
    return ResponsesResult(
        model=engine.model,
        prompts=len(prompts),
        prompts_without_response=len(prompts - {one.prompt_id for one in responses}),
        responses=len(responses),
        empty=sum(not one.response.strip() for one in responses),
        finish_reasons=_reasons(responses),
        cut_off_rate=sum(not is_whole(one.finish_reason) for one in responses) / len(responses),
        prompt_tokens=prompt_tokens,
        response_tokens=response_tokens,
        mean_response_tokens=response_tokens / len(responses),
        cost=(engine.prices[0] * prompt_tokens + engine.prices[1] * response_tokens) / 1e6,
        flops=2.0 * (engine.parameters or 0) * (prompt_tokens + response_tokens),
    )
