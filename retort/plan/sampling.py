"""Plans of what is sampled: responses of the teacher and of students, evaluation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from retort.config.data import BenchmarkConfig, SamplingConfig
from retort.config.models import TransformersEngineConfig, VLLMEngineConfig
from retort.plan import trace
from retort.plan.assumptions import rows_of
from retort.plan.setting import Setting, StagePlan
from retort.plan.speed import Work, answers, batch_s, step_s
from retort.plan.trace import Bytes, Model

_VLLM_STEP_S = 0.005
"""What a decoding step of vLLM costs whatever its size."""


@dataclass(frozen=True)
class _Asked:
    """Responses that are asked of a model."""

    count: float | None
    """None where it is not known."""
    new_tokens: int
    rows: int
    """Sequences that the `transformers` engine generates at once."""
    prompts: int
    """Different prompts among them."""
    top_p: float = 1.0


def responses(on: Setting, name: str, sampling: SamplingConfig) -> StagePlan:
    """Responses of a model or student to all prompts but the test's, on all shards."""
    count = None
    if on.assume.prompts is not None:
        prompts = on.assume.prompts + on.config.prompts.validation
        count = prompts * len(sampling.temperatures) * sampling.samples
    rows, each = sampling.batch_size, sampling.samples
    return _answering(on, name, [_Asked(count, sampling.max_new_tokens, rows, math.ceil(rows / each), sampling.top_p)])


def evaluate(on: Setting, name: str, benchmarks: Iterable[BenchmarkConfig]) -> StagePlan:
    """One model on benchmarks, one after another; questions are taken to be as long as training prompts."""
    config = on.config.evaluate
    rows = config.batch_size
    asked = [_Asked(_items(one, on), one.max_new_tokens or config.max_new_tokens, rows, rows) for one in benchmarks]
    return _answering(on, name, asked)


def decoding(model: Model, rows: int, prompts: int, new_tokens: int, on: Setting, top_p: float = 1.0) -> Bytes:
    """Weights and what sampling adds to them, with prompts and responses at their longest."""
    prompt = on.assume.longest_prompt
    found = trace.generation(
        model.frozen(), rows=rows, prompts=prompts, prompt=prompt, response=new_tokens, top_p=top_p
    )
    return found + Bytes(weights=trace.weights(model.frozen()).weights)


def _answering(on: Setting, name: str, asked: list[_Asked]) -> StagePlan:
    """What an engine takes to answer, with the model's weights on this GPU."""
    engine, model = on.config.engine(name), on.model(name)
    if isinstance(engine, VLLMEngineConfig):
        return _vllm(on, engine, model, asked)
    longest = max(asked, key=lambda one: one.new_tokens)
    memory = decoding(model, longest.rows, longest.prompts, longest.new_tokens, on, longest.top_p)

    def decoding_s(one: _Asked, count: float) -> float:
        return count / one.rows * batch_s(model, one.rows, one.new_tokens, on.device, on.assume)

    work, seconds = _totals(on, model, asked, decoding_s)
    notes: tuple[str, ...] = ()
    if not isinstance(engine, TransformersEngineConfig):
        notes = (f"{name} is planned as the engine transformers would run it: what {engine.type} takes is not known",)
    return StagePlan.fullest({f"decoding {longest.rows} rows": memory}, work, seconds, notes=notes)


def _vllm(on: Setting, engine: VLLMEngineConfig, model: Model, asked: list[_Asked]) -> StagePlan:
    """`vllm serve`, which takes its share of the GPU whatever it is asked."""

    def decoding_s(one: _Asked, count: float) -> float:
        return vllm_s(on, engine, model, count, one.new_tokens)

    work, seconds = _totals(on, model, asked, decoding_s)
    phase = f"vLLM, which takes {engine.gpu_memory_utilization:.0%} of the GPU"
    memory, notes = vllm_memory(on, engine, model)
    return StagePlan.fullest({phase: memory}, work, seconds, notes=notes)


def vllm_memory(on: Setting, engine: VLLMEngineConfig, model: Model) -> tuple[Bytes, tuple[str, ...]]:
    """What a server takes of each GPU, and what is to be said where the weights do not fit in."""
    held = trace.weights(model).weights // engine.tensor_parallel
    taken = int(engine.gpu_memory_utilization * on.device.memory_gb * 1e9)
    notes: tuple[str, ...] = ()
    if held >= taken:
        notes = (
            f"the weights alone, {held / 1e9:.1f} GB, fill the {taken / 1e9:.1f} GB that vLLM may take: it will not "
            "start. Raise gpu_memory_utilization or tensor_parallel",
        )
    return Bytes(weights=held, cache=max(0, taken - held)), notes


def vllm_s(on: Setting, engine: VLLMEngineConfig, model: Model, count: float, new_tokens: int) -> float:
    """Seconds in which a server decodes `count` responses."""
    response = on.assume.response(new_tokens)
    length = on.assume.prompt_tokens + response
    step = step_s(model, engine.concurrency, length, on.device, on.assume, overhead_s=_VLLM_STEP_S)
    return count * response / engine.concurrency * step


def _totals(
    on: Setting, model: Model, asked: list[_Asked], decoding_s: Callable[[_Asked, float], float]
) -> tuple[Work | None, float | None]:
    """Work and seconds of all that is asked; None where one number is not known."""
    total, seconds = Work(), 0.0
    for one in asked:
        if one.count is None:
            return None, None
        work = answers(model, one.count, one.new_tokens, on.assume)
        total += work
        seconds += decoding_s(one, one.count) + work.passes_s(on.device, on.assume, model.dtype)
    return total, seconds


def _items(benchmark: BenchmarkConfig, on: Setting) -> int | None:
    """Questions of a benchmark, where the configuration or a file here tells."""
    if benchmark.task == "heldout":
        count: int | None = on.config.prompts.test
    else:
        file = benchmark.data.get("test")
        count = rows_of(on.root / file) if file else benchmark.limit
    return count if count is None or benchmark.limit is None else min(count, benchmark.limit)
