"""`retort diff A B`: what two runs do not have in common."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from retort.cli import options

if TYPE_CHECKING:
    from retort.report.differences import Change, Differences

_LONGEST = 60


def diff(
    first: Annotated[str, typer.Argument(help="A run under runs/, or a folder; `.` is this folder's own.")],
    second: Annotated[str, typer.Argument(help="Another one.")],
    as_json: options.AsJson = False,
) -> None:
    """Compare two runs: parameters, data, code, and what they measured, item by item, with intervals."""
    from retort.report.differences import differences
    from retort.run.find import workspace

    found = differences(workspace(first), workspace(second))
    if as_json:
        print(json.dumps(asdict(found), sort_keys=True))
        return
    print("\n".join(_lines(found, first, second)))


def _lines(found: Differences, first: str, second: str) -> list[str]:
    from retort.report.formats import points
    from retort.report.runs import COLUMNS
    from retort.report.terminal import columns

    def table(title: str, changes: dict[str, Change], write: Any = None) -> list[str]:
        if not changes:
            return [f"{title}: the same", ""]
        rows = [
            [key, *(_shown(value) if write is None else write(key, value) for value in pair)]
            for key, pair in changes.items()
        ]
        return [*columns([[title, first, second], *rows]), ""]

    lines = [*table("parameters", found.parameters), *table("data", found.data)]
    if any(found.tasks):
        lines += [
            f"only {run} has: {', '.join(tasks)}"
            for run, tasks in zip((first, second), found.tasks, strict=True)
            if tasks
        ] + [""]
    lines += [f"code: {'other code makes ' + ', '.join(found.code) if found.code else 'the same'}", ""]
    writers = {key: write for key, _, write in COLUMNS}
    lines += table(
        "figures",
        found.figures,
        lambda key, value: "–" if value is None else writers[key](value) if key in writers else _shown(value),
    )
    rows = [["on the same items", first, second, "difference", "95 % interval", "p", "n"]]
    for one in found.measured:
        name = one.model if one.model == one.other else f"{one.model} → {one.other}"
        same = one.comparison
        rows.append(
            [
                f"{name}, {one.benchmark}",
                f"{same.second.accuracy:.1%}",
                f"{same.first.accuracy:.1%}",
                points(same.difference),
                f"{points(same.low)} to {points(same.high)}",
                f"{same.p_value:.3f}",
                f"{same.n}",
            ]
        )
    if len(rows) > 1:
        lines += columns(rows)
    return [*lines, *found.remarks]


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
