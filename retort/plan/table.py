"""The plan as text: models, a table of stages, then what it rests on and what it leaves out."""

from __future__ import annotations

from retort.plan.setting import StagePlan
from retort.plan.walk import RunPlan


def lines(found: RunPlan) -> list[str]:
    """What `retort plan` prints."""
    unit, letter = (1e9, "GB") if found.peak_bytes > 1e9 else (1e6, "MB")
    heads = ["stage", "weights", "gradients", "optimizer", "activations", "cache", "logits", f"peak {letter}"]
    heads += ["tokens, M", "FLOPs", "hours", "fullest while"]
    rows = [heads, *(_row(name, stage, unit) for name, stage in found.stages.items())]
    widths = [max(len(row[place]) for row in rows) for place in range(len(heads))]
    aligned = [
        "  ".join(
            cell.ljust(width) if place in (0, len(heads) - 1) else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return [*_models(found), "", *aligned, "", *_words(found)]


def _models(found: RunPlan) -> list[str]:
    shown = []
    for name, count in found.models.items():
        students = [student for student, base in found.students.items() if base == name]
        of = f"; as many have its students {', '.join(students)}" if students else ""
        shown.append(f"{name}: {count:,} parameters{of}")
    return shown


def _words(found: RunPlan) -> list[str]:
    device, assume, peak = found.device, found.assume, found.peak_bytes / 1e9
    verdict = {True: "fits", False: "DOES NOT FIT", None: "fits, but for stages that have no plan"}[found.fits]
    hours = "unknown" if found.hours is None else f"{found.hours:.1f}"
    if found.hours is None and assume.prompts is None:
        hours += ", give --prompts"
    together = [
        f"Memory of stages that train is that of one of {found.processes} processes; hours are those of one alone."
    ]
    return [
        f"Peak {peak:.1f} GB of {device.memory_gb:g} GB of one {device.name}: {verdict}. Hours in all: {hours}.",
        *(together if found.processes > 1 else []),
        f"Memory is for sequences at their longest: prompts of {assume.longest_prompt} tokens, responses at their "
        "limit. An allocator takes some per cent more, CUDA about 0.5 GB.",
        f"Time is for {assume.prompts if assume.prompts is not None else 'an unknown number of'} training prompts of "
        f"{assume.prompt_tokens} tokens, responses of {assume.response_share:.0%} of their limit, {assume.mfu:.0%} of "
        f"{device.bfloat16_tflops:g} TFLOP/s in bfloat16 ({device.float32_tflops:g} in float32), "
        f"{assume.bandwidth_share:.0%} of {device.bandwidth_tb:g} TB/s and {1000 * assume.step_overhead_s:.0f} ms a "
        "decoding step.",
        *(f"{note}." for note in found.notes),
    ]


def _row(name: str, stage: StagePlan, unit: float) -> list[str]:
    memory, work = stage.memory, stage.work
    parts = ["?"] * 7
    if memory is not None:
        sizes = (memory.weights, memory.gradients, memory.optimizer, memory.activations, memory.cache, memory.logits)
        parts = [*(f"{size / unit:.1f}" if size else "–" for size in sizes), f"{memory.total / unit:.1f}"]
    tokens = "?" if work is None else f"{(work.generated + work.trained + work.read) / 1e6:,.1f}"
    return [
        name,
        *parts,
        tokens,
        "?" if work is None else f"{work.flops:.1e}",
        "?" if stage.hours is None else f"{stage.hours:.2f}",
        stage.peak,
    ]
