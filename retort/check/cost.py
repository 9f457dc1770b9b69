"""What the run will ask of endpoints and of a GPU, by `retort plan` and the prompts that were counted."""

from __future__ import annotations

from typing import Any

from retort.check.finding import Checked
from retort.config.data import SamplingConfig
from retort.config.endpoint import EndpointConfig
from retort.config.judge import JudgeConfig
from retort.config.run import TEACHER
from retort.errors import RetortError
from retort.plan.assumptions import Assumptions
from retort.plan.devices import Device
from retort.plan.walk import plan

_RESPONSE_SHARE = 0.35
"""Mean length of a response as a share of its limit, as `retort plan` assumes."""
_CHARACTERS_A_TOKEN = 4


def check_cost(on: Checked, device: Device | None) -> None:
    """Say what is asked of a teacher behind an endpoint; on a device, whether the run fits and how long it takes.

    Args:
        on: What is known so far.
        device: GPU that it will run on; None for a run without one, whose time is not known.
    """
    if on.rows:
        _endpoint(on)
        _judge(on)
    if device is None:
        return
    assume = Assumptions.usual(len(on.rows["train"]) if on.rows else None)
    try:
        found = plan(on.config, device, assume, on.root)
    except RetortError as error:
        on.warn("", f"no plan for {device.name}: {error}")
        return
    peak = f"{found.peak_bytes / 1e9:.1f} GB of {device.memory_gb:g} GB of one {device.name}"
    hours = "" if found.hours is None else f", {found.hours:.1f} hours"
    if found.fits is False:
        on.warn("", f"does not fit: {peak}. `retort plan` shows which stage, and --processes what several GPUs change.")
    else:
        on.facts.append(f"about {peak}{hours} (`retort plan` says more)")


def _endpoint(on: Checked) -> None:
    config: Any = on.config.models[TEACHER].engine
    if not isinstance(config, EndpointConfig):
        return
    sampling, shards = on.config.teacher_responses, len(on.config.teacher_responses.shards)
    asked = [*on.rows["train"], *on.rows["validation"]]
    count = len(asked) * sampling.samples * len(sampling.temperatures)
    prompts, responses = _tokens(asked, sampling)
    if TEACHER in on.config.evaluated():
        benchmarks = [one for one in on.config.evaluate.benchmarks if one.task == "heldout"]
        tests = [row for one in benchmarks for row in on.rows["test"][: one.limit]]
        limit = SamplingConfig(samples=1, temperatures=[0.0], max_new_tokens=on.config.evaluate.max_new_tokens)
        more = _tokens(tests, limit)
        count, prompts, responses = count + len(tests), prompts + more[0], responses + more[1]
    cost = (prompts * config.prompt_cost + responses * config.response_cost) / 1e6
    price = f", {cost:,.2f} at the prices given" if cost else ", no price given"
    on.facts.append(
        f"the teacher is asked {count:,} times: about {(prompts + responses) / 1e6:,.2f} M tokens{price}; what is in "
        "the cache already is not asked again"
    )
    budget, responses_alone = config.budget, len(asked) * sampling.samples * len(sampling.temperatures)
    if budget.requests is not None and budget.requests * shards < sampling.min_share * responses_alone:
        on.warn(
            f"models.{TEACHER}.engine.budget.requests",
            f"is {budget.requests:,} for each of {shards} shards, and {responses_alone:,} responses are wanted: the "
            "run will end with what is there. Raise it, ask for fewer, or lower teacher_responses.min_share.",
        )


def _judge(on: Checked) -> None:
    """How often a judge behind an endpoint is asked at most, and what that costs."""
    judge, config = on.config.judge, on.config
    engine: Any = None if judge is None else judge.model.engine
    if judge is None or not isinstance(engine, EndpointConfig):
        return
    calls = _judge_calls(on, judge)
    total = sum(calls.values())
    every = [row for rows in on.rows.values() for row in rows]
    prompt = sum(len(row["prompt"]) for row in every) / max(len(every), 1) / _CHARACTERS_A_TOKEN
    longest = max(config.teacher_responses.max_new_tokens, config.student_responses.max_new_tokens)
    shown = 2 if judge.method == "pairwise" else 1
    read = total * (prompt + shown * _RESPONSE_SHARE * longest)
    written = total * _RESPONSE_SHARE * judge.max_new_tokens
    cost = (read * engine.prompt_cost + written * engine.response_cost) / 1e6
    price = f", {cost:,.2f} at the prices given" if cost else ", no price given"
    stages = ", ".join(f"{stage} {count:,}" for stage, count in calls.items() if count)
    on.facts.append(
        f"the judge is asked {total:,} times at most ({stages}), and again wherever training compares held-out "
        f"responses: about {(read + written) / 1e6:,.2f} M tokens{price}"
    )


def _judge_calls(on: Checked, judge: JudgeConfig) -> dict[str, int]:
    """Most calls by stage; equal responses are judged once, so there may be fewer."""
    config, pairwise = on.config, judge.method == "pairwise"
    once = 2 if pairwise else judge.samples  # a pair is compared in both orders
    teacher, student = (
        sampling.samples * len(sampling.temperatures)
        for sampling in (config.teacher_responses, config.student_responses)
    )
    asked = len(on.rows["train"]) + len(on.rows["validation"])
    judged = teacher * min(judge.opponents, teacher - 1) // 2 if pairwise else teacher
    tests = [len(on.rows["test"][: one.limit]) for one in config.evaluate.benchmarks if one.task == "heldout"]
    return {
        "votes": asked * judged * once,
        "reward_data": asked * student * len(config.sampled_students()) * once,
        "evaluate": sum(tests) * len(config.evaluated()) * once,
    }


def _tokens(rows: list[dict[str, Any]], sampling: SamplingConfig) -> tuple[float, float]:
    """Tokens of the prompts and of the responses, about."""
    each = sampling.samples * len(sampling.temperatures)
    prompts = sum(len(row["prompt"]) for row in rows) / _CHARACTERS_A_TOKEN * each
    return prompts, len(rows) * each * _RESPONSE_SHARE * sampling.max_new_tokens
