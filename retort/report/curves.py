"""Reading the curves that DVCLive writes: one tab-separated file a quantity, with `step` and the value."""

from __future__ import annotations

import csv
import math
from pathlib import Path

Curve = list[tuple[float, float]]


def read_curves(folder: Path) -> dict[str, Curve]:
    """Every curve under `folder`, by name with its sub-folders; values that are no number are left out.

    So are curves without any: a student that a gate stopped has such a one.
    """
    root = folder / "plots/metrics"
    return {
        file.relative_to(root).with_suffix("").as_posix(): points
        for file in sorted(root.rglob("*.tsv"))
        if file.is_file() and (points := _read(file))
    }


def _read(file: Path) -> Curve:
    points: Curve = []
    with file.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream, delimiter="\t"):
            # The value's column is named after the file; a time stamp may stand before the step.
            point = _number(row.get("step")), _number(row.get(file.stem))
            if point[0] is not None and point[1] is not None:
                points.append((point[0], point[1]))
    return points


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None
