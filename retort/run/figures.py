"""A task's metrics for a person: the few that its stage is watched by, short enough for a line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any


def figure(value: Any) -> str | None:
    """A metric as a word; None for one that is no single figure, or not known."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return value if isinstance(value, str) else None


def line(metrics: Mapping[str, Any], names: Iterable[str]) -> str:
    """Figures by name, those that are there: `coverage 0.93, accuracy 0.91`.

    Of a student that a gate kept from training, why.
    """
    if metrics.get("skipped"):
        return "skipped: " + "; ".join(map(str, metrics.get("reasons", ())))
    found = {name: figure(metrics.get(name)) for name in names}
    return ", ".join(f"{name.replace('_', ' ')} {shown}" for name, shown in found.items() if shown is not None)


def numbers(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """The numbers in nested metrics, by dotted name."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from numbers(item, f"{name}.{key}" if name else key)
    elif isinstance(value, bool | int | float):
        yield name, float(value)
