"""The content of the report's `metrics.json`: what a run is judged by, named for who has no configuration."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from retort.report.findings import Findings
from retort.report.scores import Benchmark, pair_key
from retort.report.words import better_than_base, notices


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
        "base": lines.base,
        "better_than_base": better_than_base(findings),
        "alarms": findings.alarms,
        "notices": notices(findings),
    }


def _table(benchmark: Benchmark) -> dict[str, Any]:
    return {
        "models": {name: asdict(score) for name, score in benchmark.models.items()},
        "paired": {pair_key(*pair): asdict(found) for pair, found in benchmark.paired.items()},
    }
