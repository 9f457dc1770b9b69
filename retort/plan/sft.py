"""Plan of a student of the method `sft`."""

from __future__ import annotations

from retort.config.training import SFTConfig
from retort.plan import trace
from retort.plan.passes import mean, micro, trained, width
from retort.plan.setting import Setting, StagePlan
from retort.plan.speed import Work


def plan(on: Setting, student: str) -> StagePlan:
    """Its own steps, and as many more as another student's compute pays for (`compute_of`)."""
    config: SFTConfig = on.config.settings(student)
    start = on.start(student)
    work = _work(on, student, config)
    model = trained(start, config, start.dtype)
    rows, columns, sharing = micro(config, on), width(on, config.max_length), on.sharing(config)
    new = min(columns, on.config.teacher_responses.max_new_tokens)
    one = trace.training_pass(model, rows=rows, width=columns, scored=new, read="loss", autocast=on.autocast)
    memory = sharing.training(one, model) + sharing.held(model)
    seconds = None
    if work is not None:
        seconds = work.passes_s(on.device, on.assume, "bfloat16", checkpointing=config.gradient_checkpointing)
    other = on.config.students[student].compute_of
    notes = (f"how many steps the compute of {other} adds is not known",) if work is None else ()
    return StagePlan.fullest({f"training {rows} x {columns} tokens": memory}, work, seconds, notes=notes)


def _work(on: Setting, student: str, config: SFTConfig) -> Work | None:
    entry, extra = on.config.students[student], 0.0
    each = 6.0 * trace.parameters(on.start(student))
    step = config.batch_size * mean(on, config.max_length)
    if entry.compute_of is not None:
        other = on.student(entry.compute_of).work
        if other is None:
            return None
        extra = other.flops / each / step
        if entry.max_extra_steps is not None:
            extra = min(extra, entry.max_extra_steps)
    tokens = (config.steps + extra) * step
    return Work(trained=tokens, training_flops=each * tokens)
