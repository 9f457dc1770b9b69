"""What each stage cost: tokens and floating-point operations by its metrics, wall time by this machine's timings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retort.run.graph import STAGES


@dataclass(frozen=True)
class Cost:
    """One stage's cost; None where it does not say."""

    stage: str
    tokens: int | None
    flops: float | None
    price: float | None = None
    """In the unit of the configured prices; None where nothing was paid."""
    seconds: float | None = None
    """Wall time, summed over the stage's tasks; differs from run to run, so only the page shows it."""


def costs(stages: Mapping[str, Mapping[str, Any]], seconds: Mapping[str, float] | None = None) -> list[Cost]:
    """One row for each stage that says what it cost, in the order of the graph."""
    rows = []
    for stage in STAGES:
        metrics = stages.get(stage.name, {})
        metrics = {**metrics, **(metrics.get("trained") or {})}  # SFT stages keep theirs one level down
        row = Cost(
            stage.name, _tokens(metrics), _flops(metrics), metrics.get("cost") or None, (seconds or {}).get(stage.name)
        )
        if (row.tokens, row.flops, row.seconds) != (None, None, None):
            rows.append(row)
    return rows


def wall_times(folder: Path) -> dict[str, float]:
    """Seconds by stage from the files that the stage runner leaves; tasks of one stage are summed."""
    found: dict[str, float] = {}
    for file in sorted(folder.glob("*.json")):
        timing = json.loads(file.read_text(encoding="utf-8"))
        stage = str(timing["task"]).partition("@")[0]
        found[stage] = found.get(stage, 0.0) + float(timing["seconds"])
    return found


def _tokens(metrics: Mapping[str, Any]) -> int | None:
    if isinstance(metrics.get("tokens"), int):
        return int(metrics["tokens"])
    parts = [metrics[key] for key in ("prompt_tokens", "response_tokens") if isinstance(metrics.get(key), int)]
    return sum(parts) if parts else None


def _flops(metrics: Mapping[str, Any]) -> float | None:
    value = metrics.get("flops")
    return float(value) if isinstance(value, (int, float)) else None
