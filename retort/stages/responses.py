"""Stages `teacher_responses` and `student_responses`: sample responses to one shard of the prompts."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retort.config.data import ResponsesConfig
from retort.config.run import TEACHER
from retort.engines.base import NOT_KEPT, REFUSED, Engine, Request, Response, plan_requests
from retort.engines.log import answer
from retort.engines.make import make_engine
from retort.engines.probe import probe_of, probe_once
from retort.errors import InputError
from retort.io import tables
from retort.run.stage import Context
from retort.stages.answering import answering
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
    refused: int
    """Requests that the endpoint's policy refused; they have no row."""
    unanswered: int
    """Other requests without a row: answered with no completion at every attempt, or beyond the budget."""
    with_reasoning: int
    """Responses with reasoning in a column of its own."""
    identical_share: float | None
    """Share of prompts whose samples at one temperature above 0 are all the same; null where none has two."""
    probe: dict[str, Any] | None
    """What the endpoint honours (`retort.engines.probe.Probe`); null for other engines."""
    flops: float
    """2 x parameters x tokens (Kaplan et al. 2020, §2.1), for a model run here; 0 otherwise."""


def run(context: Context) -> ResponsesResult:
    """Sample this shard's responses; resumes after a kill with what is missing.

    Raises:
        InputError: there are no prompts, one is too long, most responses are empty, or the teacher ended none.
        EngineError: the engine failed after its own retries; run the stage again.
    """
    teacher = context.task.stage.name == "teacher_responses"
    name = TEACHER if teacher else context.task.values["student"]
    sampling: ResponsesConfig = getattr(context.config, context.task.stage.name)
    shard = int(context.task.values["shard"])
    requests = _requests(context, sampling, shard)
    engine = answering(
        context,
        name,
        make_engine(
            context.config.engine(name),
            context.paths.model(name),
            place=f"{'models' if teacher else 'students'}.{name}.engine",
            root=context.paths.root,
            file="outputs/prompts",
            training=not teacher,
            store=context.store,
        ),
    )
    state = context.state()
    with engine:
        answered = answer(
            engine,
            requests,
            sampling,
            state / "responses.jsonl",
            words=f"{context.name} ({engine.model})",
            least_share=sampling.min_share,
            before=lambda cache: probe_once(engine, sampling, state, cache),
        )
    responses = [one for one in answered if one.finish_reason not in NOT_KEPT]
    out = context.paths.responses(name, shard)
    _check(responses, out, sampling, teacher=teacher)
    tables.write_table(out, [one.row(name) for one in responses], tables.RESPONSES)
    found = probe_of(engine, sampling, state)
    return _result(engine, requests, responses, Counter(one.finish_reason for one in answered), found)


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


def identical_share(responses: Sequence[Response]) -> float | None:
    """Share of prompts whose samples at a temperature above 0 are all the same, of those with two or more at one."""
    texts: dict[tuple[str, str, float], list[str]] = {}
    for one in responses:
        if one.temperature != 0 and one.response.strip():
            key = (one.prompt_id, one.model, one.temperature)
            texts.setdefault(key, []).append((one.reasoning or "") + one.response)
    several: dict[str, bool] = {}
    for (prompt_id, _, _), some in texts.items():
        if len(some) > 1:
            several[prompt_id] = several.get(prompt_id, True) and len(set(some)) == 1
    return sum(several.values()) / len(several) if several else None


def _check(responses: list[Response], out: Path, sampling: ResponsesConfig, *, teacher: bool) -> None:
    empty = sum(not one.response.strip() for one in responses)
    if 2 * empty > len(responses):
        raise InputError(
            f"{empty} of {len(responses)} responses are empty, so nothing is written",
            file=out,
            field="response",
            remedy="Check the model's chat template and end token, raise max_new_tokens, or use another model",
        )
    if (share := identical_share(responses)) is not None and share > 0.5:
        logger.warning(
            "%s: the samples to %.0f %% of the prompts are all the same though they were drawn at a temperature above "
            "0: a vote over them says nothing, nor does their agreement. See whether the server honours temperatures",
            out,
            100 * share,
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


def _result(
    engine: Engine,
    requests: list[Request],
    responses: list[Response],
    reasons: Counter[str],
    probe: dict[str, Any] | None,
) -> ResponsesResult:
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
        refused=reasons[REFUSED],
        unanswered=max(0, engine.count(requests) - len(responses) - reasons[REFUSED]),
        with_reasoning=sum(one.reasoning is not None for one in responses),
        identical_share=identical_share(responses),
        probe=probe,
        flops=2.0 * (engine.parameters or 0) * (prompt_tokens + response_tokens),
    )
