"""Plans of the stages that generate: teacher and student responses, evaluation."""

from __future__ import annotations

import math

from retort.config.data import BenchmarkConfig, SamplingConfig
from retort.config.models import VLLMTeacher
from retort.plan import trace
from retort.plan.assumptions import rows_of
from retort.plan.setting import Setting, StagePlan
from retort.plan.speed import Work, answers, batch_s, step_s
from retort.plan.trace import Bytes, Model

_VLLM_STEP_S = 0.005
"""What a decoding step of vLLM costs whatever its size."""


def teacher_responses(on: Setting) -> StagePlan | None:
    """None where the teacher does not run here."""
    if on.teacher is None:
        return None
    teacher, sampling = on.config.teacher, on.config.teacher_responses
    if not isinstance(teacher, VLLMTeacher):
        return _sampling("teacher_responses", on.teacher, sampling, on)
    held = trace.weights(on.teacher).weights // teacher.tensor_parallel
    taken = int(teacher.gpu_memory_utilization * on.device.memory_gb * 1e9)
    work, seconds = _requests(on.teacher, sampling, on), None
    if work is not None:
        mean = on.assume.prompt_tokens + on.assume.response(sampling.max_new_tokens)
        rows = teacher.concurrency
        step = step_s(on.teacher, rows, mean, on.device, on.assume, overhead_s=_VLLM_STEP_S)
        seconds = work.generated / rows * step + work.passes_s(on.device, on.assume, on.teacher.dtype)
    phase = f"vLLM, which takes {teacher.gpu_memory_utilization:.0%} of the GPU"
    memory = Bytes(weights=held, cache=max(0, taken - held))
    return StagePlan.fullest("teacher_responses", {phase: memory}, work, seconds)


def student_responses(on: Setting) -> StagePlan:
    """The SFT student through the `transformers` engine."""
    return _sampling("student_responses", on.student, on.config.student_responses, on)


def evaluate(on: Setting) -> StagePlan:
    """Every model on every benchmark, one after another; questions are taken to be as long as training prompts."""
    config = on.config.evaluate
    roles = [on.teacher if name == "teacher" else on.student for name in config.models]
    models = [model for model in roles if model is not None]
    work: Work | None = Work()
    seconds, longest = 0.0, 0
    for benchmark in config.benchmarks:
        items, new = _items(benchmark, on), benchmark.max_new_tokens or config.max_new_tokens
        longest = max(longest, new)
        for model in models:
            done = answers(model, items or 0, new, on.assume)
            work = None if work is None or items is None else work + done
            seconds += (items or 0) / config.batch_size * batch_s(model, config.batch_size, new, on.device, on.assume)
            seconds += done.passes_s(on.device, on.assume, model.dtype)
    phases = {}
    for model in dict.fromkeys(models):
        name = f"decoding {config.batch_size} rows of the {'teacher' if model is on.teacher else 'student'}"
        phases[name] = decoding(model, config.batch_size, config.batch_size, longest, on)
    return StagePlan.fullest("evaluate", phases, work, None if work is None else seconds)


def decoding(model: Model, rows: int, prompts: int, new_tokens: int, on: Setting, top_p: float = 1.0) -> Bytes:
    """Weights and what sampling adds to them, with prompts and responses at their longest."""
    prompt = on.assume.longest_prompt
    found = trace.generation(
        model.frozen(), rows=rows, prompts=prompts, prompt=prompt, response=new_tokens, top_p=top_p
    )
    return found + Bytes(weights=trace.weights(model.frozen()).weights)


def _sampling(stage: str, model: Model, sampling: SamplingConfig, on: Setting) -> StagePlan:
    rows, new = sampling.batch_size, sampling.max_new_tokens
    memory = decoding(model, rows, math.ceil(rows / sampling.samples), new, on, sampling.top_p)
    work, seconds = _requests(model, sampling, on), None
    if work is not None:
        batches = work.generated / on.assume.response(new) / rows
        seconds = batches * batch_s(model, rows, new, on.device, on.assume)
        seconds += work.passes_s(on.device, on.assume, model.dtype)
    return StagePlan.fullest(stage, {f"decoding {rows} rows": memory}, work, seconds)


def _requests(model: Model, sampling: SamplingConfig, on: Setting) -> Work | None:
    if on.assume.prompts is None:
        return None
    prompts = on.assume.prompts + on.config.prompts.validation
    count = prompts * len(sampling.temperatures) * sampling.samples
    return answers(model, count, sampling.max_new_tokens, on.assume)


def _items(benchmark: BenchmarkConfig, on: Setting) -> int | None:
    """Questions of a benchmark, where the configuration or a file here tells."""
    if benchmark.task == "heldout":
        count: int | None = on.config.prompts.test
    else:
        file = benchmark.data.get("test")
        count = rows_of(on.root / file) if file else benchmark.limit
    return count if count is None or benchmark.limit is None else min(count, benchmark.limit)
