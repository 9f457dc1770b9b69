"""Plan of a student of the method `dpo`."""

from __future__ import annotations

from retort.config.methods import DPOConfig
from retort.plan import trace
from retort.plan.passes import held, mean, micro, trained, width
from retort.plan.setting import Setting, StagePlan
from retort.plan.speed import Work
from retort.plan.trace import Bytes


def plan(on: Setting, student: str) -> StagePlan:
    """Both responses of each pair in one pass, read by the reference too, which with adapters is the student's own."""
    config: DPOConfig = on.config.settings(student)
    start = on.start(student)
    work = _work(on, student, config)
    model = trained(start, config, start.dtype)
    rows, columns, sharing = 2 * micro(config, on), width(on, config.max_length), on.sharing(config)
    new = min(columns, on.config.teacher_responses.max_new_tokens)
    one = trace.training_pass(model, rows=rows, width=columns, scored=new, read="logprobs", autocast=on.autocast)
    memory = sharing.training(one, model) + sharing.held(model)
    if config.lora is None:
        memory += Bytes(weights=sharing.share(held([start])))
    seconds = None
    if work is not None:
        seconds = work.passes_s(on.device, on.assume, "bfloat16", checkpointing=config.gradient_checkpointing)
    other = on.config.students[student].compute_of
    notes = (f"how many steps the compute of {other} adds is not known",) if work is None else ()
    return StagePlan.fullest({f"training {rows} x {columns} tokens": memory}, work, seconds, notes=notes)


def _work(on: Setting, student: str, config: DPOConfig) -> Work | None:
    entry, extra = on.config.students[student], 0.0
    size = trace.parameters(on.start(student))
    step = 2 * config.batch_size * mean(on, config.max_length)
    if entry.compute_of is not None:
        other = on.student(entry.compute_of).work
        if other is None:
            return None
        extra = other.flops / (8.0 * size) / step
        if entry.max_extra_steps is not None:
            extra = min(extra, entry.max_extra_steps)
    tokens = (config.steps + extra) * step
    return Work(read=tokens, trained=tokens, reading_flops=2.0 * size * tokens, training_flops=6.0 * size * tokens)
