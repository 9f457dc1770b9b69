"""The plan of a whole run, and what it is printed from."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from retort.config import RetortConfig
from retort.plan import sampling, trace, training
from retort.plan.assumptions import Assumptions
from retort.plan.devices import Device
from retort.plan.setting import Setting, StagePlan


@dataclass(frozen=True)
class RunPlan:
    """Every stage that uses a GPU, in the order of the run."""

    device: Device
    assume: Assumptions
    models: dict[str, int]
    """Parameters of each model that runs here."""
    stages: list[StagePlan]
    processes: int = 1
    """Processes that train together; memory is that of one, time that of one alone."""

    @property
    def peak_bytes(self) -> int:
        """The fullest stage."""
        return max(stage.memory.total for stage in self.stages)

    @property
    def hours(self) -> float | None:
        """Of all stages, one after another; None where one is not known."""
        known = [stage.hours for stage in self.stages if stage.hours is not None]
        return sum(known) if len(known) == len(self.stages) else None

    def as_json(self) -> dict[str, Any]:
        """Plain values; bytes, tokens, FLOPs and hours."""
        return {
            "device": asdict(self.device),
            "assumptions": asdict(self.assume),
            "processes": self.processes,
            "parameters": self.models,
            "peak_bytes": self.peak_bytes,
            "fits": self.peak_bytes <= self.device.memory_gb * 1e9,
            "hours": self.hours,
            "stages": [
                {
                    "stage": stage.stage,
                    "peak": stage.peak,
                    "bytes": {**asdict(stage.memory), "total": stage.memory.total},
                    "work": None if stage.work is None else {**asdict(stage.work), "flops": stage.work.flops},
                    "hours": stage.hours,
                }
                for stage in self.stages
            ],
        }


def plan(config: RetortConfig, device: Device, assume: Assumptions, root: Path, *, processes: int = 1) -> RunPlan:
    """Plan a run of `config`.

    Raises:
        ModelError: the shape of a model is not known here and cannot be fetched.
    """
    on = Setting.of(config, device, assume, root, processes=processes)
    stages = [
        sampling.teacher_responses(on),
        training.sft(on),
        sampling.student_responses(on),
        training.reward(on),
        training.ppo(on),
        training.sft_equal_compute(on) if config.sft_equal_compute.enabled else None,
        sampling.evaluate(on),
    ]
    models = {"teacher": on.teacher, "student": on.student}
    sizes = {name: trace.parameters(model) for name, model in models.items() if model is not None}
    return RunPlan(device, assume, sizes, [stage for stage in stages if stage is not None], processes)


def lines(found: RunPlan) -> list[str]:
    """The plan as text: a table, then what it rests on."""
    unit, letter = (1e9, "GB") if found.peak_bytes > 1e9 else (1e6, "MB")
    heads = ["stage", "weights", "gradients", "optimizer", "activations", "cache", "logits", f"peak {letter}"]
    heads += ["tokens, M", "FLOPs", "hours", "fullest while"]
    rows = [heads, *(_row(stage, unit) for stage in found.stages)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(heads))]
    aligned = [
        "  ".join(
            cell.ljust(width) if place in (0, len(heads) - 1) else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    models = [f"{name}: {count:,} parameters" for name, count in found.models.items()]
    return [*models, "", *aligned, "", *_words(found)]


def _words(found: RunPlan) -> list[str]:
    device, assume, peak = found.device, found.assume, found.peak_bytes / 1e9
    verdict = "fits" if peak <= device.memory_gb else "DOES NOT FIT"
    hours = "unknown, give --prompts" if found.hours is None else f"{found.hours:.1f}"
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
    ]


def _row(stage: StagePlan, unit: float) -> list[str]:
    memory, work = stage.memory, stage.work
    parts = (memory.weights, memory.gradients, memory.optimizer, memory.activations, memory.cache, memory.logits)
    tokens = "?" if work is None else f"{(work.generated + work.trained + work.read) / 1e6:,.1f}"
    return [
        stage.stage,
        *(f"{part / unit:.1f}" if part else "–" for part in parts),
        f"{memory.total / unit:.1f}",
        tokens,
        "?" if work is None else f"{work.flops:.1e}",
        "?" if stage.hours is None else f"{stage.hours:.2f}",
        stage.peak,
    ]
