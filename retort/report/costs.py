"""What each part of a run cost: tokens and operations by its metrics, money by today's prices, time on this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retort.report.prices import JUDGE, Prices
from retort.report.stage_metrics import Measured


@dataclass(frozen=True)
class Cost:
    """What the tasks of one row cost; None where they do not say."""

    name: str
    """Group of tasks, as `retort stage` and DVC name them; those that evaluate share one row."""
    tokens: int | None
    flops: float | None
    price: float | None = None
    """In the unit of the configured prices; None where nothing was paid."""
    seconds: float | None = None
    """Wall time, summed over the tasks; differs from run to run, so only the page shows it."""


def costs(
    stages: Mapping[str, Measured], seconds: Mapping[str, float] | None = None, prices: Prices | None = None
) -> list[Cost]:
    """One row for each group of tasks that says what it cost, in the order of the graph.

    Args:
        stages: Metrics by group.
        seconds: Wall time by address of a task, see `wall_times`.
        prices: Prices at which tokens are turned into money; none are shown when left out.
    """
    rows: dict[str, Cost] = {}
    for group, measured in stages.items():
        name = measured.stage.name if "model" in measured.values else group
        found = Cost(
            name,
            _tokens(measured.metrics),
            _flops(measured.metrics),
            _price(measured, prices or Prices()),
            _seconds(group, seconds or {}),
        )
        rows[name] = _sum(rows[name], found) if name in rows else found
    report = Cost("report", None, None, None, (seconds or {}).get("report"))
    return [row for row in (*rows.values(), report) if (row.tokens, row.flops, row.seconds) != (None, None, None)]


def wall_times(folder: Path) -> dict[str, float]:
    """Seconds by address of a task, from the files that the stage runner leaves in `folder`."""
    read = (json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*.json")))
    return {str(timing["task"]): float(timing["seconds"]) for timing in read}


def _sum(first: Cost, second: Cost) -> Cost:
    def both(key: str) -> Any:
        values = [value for value in (getattr(first, key), getattr(second, key)) if value is not None]
        return sum(values) if values else None

    return Cost(first.name, both("tokens"), both("flops"), both("price"), both("seconds"))


def _seconds(group: str, seconds: Mapping[str, float]) -> float | None:
    """Of the tasks of a group: their addresses are its name with the value that tells them apart."""
    mine = [value for address, value in seconds.items() if address == group or address.startswith(f"{group}-")]
    return sum(mine) if mine else None


def _price(measured: Measured, prices: Prices) -> float | None:
    paid = [
        prices.cost(model, part.get("prompt_tokens") or 0, part.get("response_tokens") or 0)
        for model, part in [
            (measured.answered_by, measured.metrics),
            *((JUDGE, one) for one in _judged(measured.metrics)),
        ]
    ]
    known = [price for price in paid if price is not None]
    return sum(known) if known else None


def _judged(metrics: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """What a judge was asked, where a stage asked one: figures of their own within its metrics."""
    yield from (value for value in metrics.values() if isinstance(value, dict) and "judge" in value)


def _tokens(metrics: Mapping[str, Any]) -> int | None:
    if isinstance(metrics.get("tokens"), int):
        return int(metrics["tokens"])
    counted = [metrics, *_judged(metrics)]
    parts = [
        one[key] for one in counted for key in ("prompt_tokens", "response_tokens") if isinstance(one.get(key), int)
    ]
    return sum(parts) if parts else None


def _flops(metrics: Mapping[str, Any]) -> float | None:
    value = metrics.get("flops")
    return float(value) if isinstance(value, (int, float)) else None
