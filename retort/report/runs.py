"""Runs as they are listed: name, state, when, who, commit and the figures of `metrics/summary.json`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from retort.report.formats import duration, percent, points
from retort.report.terminal import columns
from retort.run.find import name_of, workspaces
from retort.run.paths import Paths
from retort.run.record import read_record


@dataclass(frozen=True)
class Listed:
    """One run."""

    name: str
    place: str
    """`here`, or the address of a Kubeflow."""
    state: str
    """running, succeeded, failed, lost, unrecorded; of a cluster's run Kubeflow's word in small letters."""
    started: str | None = None
    """UTC, ISO 8601; of a run without a record when its lock was written."""
    seconds: float | None = None
    who: str = ""
    commit: str | None = None
    figures: dict[str, float] = field(default_factory=dict)
    """`retort.report.metrics.FIGURES`; empty where there are none yet."""
    problem: str = ""
    """Why it failed, or why its figures cannot be had."""


def local_runs(home: Path = Path()) -> list[Listed]:
    """The runs of a folder and of its `runs/`, newest first; what was only submitted to a cluster is no run here."""
    found = [listed(root) for root in workspaces(home) if (root / "dvc.lock").exists() or read_record(root)]
    return sorted(found, key=lambda one: one.started or "", reverse=True)


def listed(root: Path) -> Listed:
    """The run of a workspace."""
    figures, problem = read_figures(Paths(root).summary)
    if (record := read_record(root)) is None:
        lock = root / "dvc.lock"
        when = _utc(lock.stat().st_mtime) if lock.exists() else None
        return Listed(_name(root), "here", "unrecorded", when, figures=figures, problem=problem)
    seconds = None
    if record.ended is not None:
        seconds = (datetime.fromisoformat(record.ended) - datetime.fromisoformat(record.started)).total_seconds()
    return Listed(
        _name(root),
        "here",
        record.state,
        record.started,
        seconds,
        record.who,
        record.commit,
        figures,
        record.problem or problem,
    )


def read_figures(file: Path) -> tuple[dict[str, float], str]:
    """The figures of a `summary.json`, and what is wrong with it; neither where there is none."""
    if not file.exists():
        return {}, ""
    try:
        return figures_of(json.loads(file.read_text(encoding="utf-8"))), ""
    except (ValueError, OSError) as error:
        return {}, f"{file}: is not a JSON object of numbers ({error})"


def figures_of(value: Any) -> dict[str, float]:
    """The figures in the content of a `summary.json`.

    Raises:
        ValueError: it is no object of numbers.
    """
    if not isinstance(value, dict) or not all(isinstance(one, (int, float)) for one in value.values()):
        raise ValueError("not an object of numbers")
    return value


COLUMNS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("accuracy", "accuracy", percent),
    ("minus_base", "− base", points),
    ("minus_start", "− start", points),
    ("minus_teacher", "− teacher", points),
    ("items", "n", lambda value: f"{value:,.0f}"),
    ("cut_off", "cut off", percent),
    ("labelled", "labelled", percent),
    ("labels_right", "right", percent),
    ("reward_auc", "AUC", lambda value: f"{value:.3f}"),
    ("flops", "FLOPs", lambda value: f"{value:.1e}"),
)
"""Figure, head of its column, how it is written."""


def lines(runs: Sequence[Listed], width: int) -> list[str]:
    """Runs as a table; where `width` letters are too few, as several, each with the runs' names."""
    heads = ["state", "started (UTC)", "took", "who", "commit", *(head for _, head, _ in COLUMNS)]
    cells = [
        [
            one.state,
            (one.started or "–")[:16].replace("T", " "),
            "–" if one.seconds is None else duration(one.seconds),
            one.who or "–",
            one.commit or "–",
            *(write(one.figures[key]) if key in one.figures else "–" for key, _, write in COLUMNS),
        ]
        for one in runs
    ]
    names = ["run", *(one.name for one in runs)]
    found: list[str] = []
    block = [[name] for name in names]
    for number, head in enumerate(heads):
        column = [head, *(row[number] for row in cells)]
        wider = [[*row, cell] for row, cell in zip(block, column, strict=True)]
        if len(block[0]) > 1 and max(map(len, columns(wider, left=_WORDS))) > width:
            found += [*columns(block, left=_left(number - len(block[0]) + 1)), ""]
            wider = [[name, cell] for name, cell in zip(names, column, strict=True)]
        block = wider
    found += columns(block, left=_left(len(heads) - len(block[0]) + 1))
    return [*found, *(f"{one.name}: {one.problem}" for one in runs if one.problem)]


_WORDS = 6
"""Columns that are words and stand at the left: the name, state, start, duration, who and commit."""


def _left(first: int) -> int:
    """Columns at the left of a table whose first column after the names is number `first`."""
    return max(_WORDS - first, 1)


def _name(root: Path) -> str:
    """What is given to other verbs: the folder's own run is `.`."""
    return name_of(root) if root.parent.name == "runs" else "."


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
