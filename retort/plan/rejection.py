"""Plan of a student of the method `rejection`."""

from __future__ import annotations

from retort.config.methods import RejectionConfig
from retort.plan import sft, trace
from retort.plan.setting import Setting, StagePlan
from retort.plan.speed import answers, batch_s


def plan(on: Setting, student: str) -> StagePlan:
    """The fine-tuning, and the samples before it; scoring them is not counted."""
    config: RejectionConfig = on.config.settings(student)
    tuned, start = sft.plan(on, student), on.start(student)
    notes = (*tuned.notes, "the reward's memory, compute and time are not counted")
    if config.source == "teacher" or tuned.memory is None:
        return StagePlan(tuned.peak, tuned.memory, tuned.work, tuned.hours, tuned.saves, notes)
    prompts = on.assume.prompts
    if prompts is not None and config.max_prompts is not None:
        prompts = min(config.max_prompts, prompts)
    rows = config.generation_batch_size
    sampling = trace.generation(
        start.frozen(),
        rows=rows,
        prompts=max(1, rows // config.samples),
        prompt=on.assume.longest_prompt,
        response=config.max_new_tokens,
    ) + trace.weights(start.frozen())
    phases = {tuned.peak: tuned.memory, f"decoding {rows} rows": sampling}
    if prompts is None or tuned.work is None or tuned.hours is None:
        return StagePlan.fullest(phases, None, None, notes=(*notes, "how many prompts there are is not known"))
    count = prompts * config.samples
    work = tuned.work + answers(start, count, config.max_new_tokens, on.assume)
    seconds = tuned.hours * 3600 + -(-count // rows) * batch_s(start, rows, config.max_new_tokens, on.device, on.assume)
    return StagePlan.fullest(phases, work, seconds, notes=notes)
