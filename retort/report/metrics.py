"""The content of the report's `metrics.json`: what a run is judged by, named for who has no configuration."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from retort.config.run import TEACHER
from retort.report.advice import advice
from retort.report.findings import Findings
from retort.report.scores import Benchmark, pair_key
from retort.report.words import better_than_base, notices, start


def as_metrics(findings: Findings) -> dict[str, Any]:
    """The findings as plain values.

    Models and comparisons are listed in `order` and `comparisons` too, because JSON objects here are sorted by key.
    """
    lines, tables = findings.outline, {item.name: _table(item) for item in findings.benchmarks}
    rewards = {name: found.as_metrics() for name, found in findings.rewards.items()}
    decisive = next((rewards[student.reward] for student in lines.line if student.reward in rewards), None)
    return {
        "benchmark": findings.primary.name,
        **tables[findings.primary.name],
        "benchmarks": tables,
        "final_model": findings.final_model,
        "base": lines.base,
        "gate_passed": findings.gate_passed,
        "gate_reasons": findings.gate_reasons,
        "labels": asdict(findings.labels) if findings.labels else None,
        "reliability": decisive["reliability"] if decisive else {},
        "rewards": rewards,
        "skipped": {student.name: student.reasons for student in lines.skipped},
        "stages": {group: dict(measured.metrics) for group, measured in findings.stages.items()},
        "order": lines.order,
        "names": {name: lines.label(name) for name in lines.order},
        "comparisons": [[pair_key(*pair), lines.pair_name(pair)] for pair in lines.pairs],
        "better_than_base": better_than_base(findings),
        "alarms": findings.alarms,
        "notices": notices(findings),
        "advice": advice(findings),
    }


FIGURES = {
    "accuracy": "Share of the primary benchmark that the result answers right",
    "minus_base": "Its accuracy less that of the model it was made from",
    "minus_start": "Its accuracy less that of what its last training started from",
    "minus_teacher": "Its accuracy less its teacher's",
    "items": "Items of that benchmark",
    "cut_off": "Share of its responses that reached the token limit",
    "labelled": "Share of prompts with a pseudo-label",
    "labels_right": "Share of pseudo-labels that are right, where that is known",
    "reward_auc": "AUC on held-out prompts of the reward that decided",
    "flops": "Floating-point operations of all stages",
}
"""The figures of `metrics/summary.json`; one that a run has not is left out."""


def summary(findings: Findings) -> dict[str, float | int]:
    """The few figures that runs are listed and compared by, see `FIGURES`; shares are between 0 and 1."""
    lines, result = findings.outline, findings.final_model
    score, paired = findings.primary.models.get(result), findings.primary.paired
    pairs = {"minus_base": lines.base, "minus_start": start(findings), "minus_teacher": TEACHER}
    differences = {
        key: pair.difference for key, other in pairs.items() if (pair := paired.get((result, other))) is not None
    }
    decisive = next((findings.rewards[one.reward] for one in lines.line if one.reward in findings.rewards), None)
    spent = [value for one in findings.stages.values() if isinstance(value := one.metrics.get("flops"), (int, float))]
    figures: dict[str, float | None] = {
        "accuracy": score.accuracy if score else None,
        **differences,
        "items": score.n if score else None,
        "cut_off": score.cut_off_rate if score else None,
        "labelled": findings.labels.coverage if findings.labels else None,
        "labels_right": findings.labels.accuracy if findings.labels else None,
        "reward_auc": decisive.auc if decisive else None,
        "flops": sum(spent) if spent else None,
    }
    return {key: value for key in FIGURES if (value := figures.get(key)) is not None}


def _table(benchmark: Benchmark) -> dict[str, Any]:
    return {
        "models": {name: asdict(score) for name, score in benchmark.models.items()},
        "paired": {pair_key(*pair): asdict(found) for pair, found in benchmark.paired.items()},
    }
