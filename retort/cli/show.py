"""`retort show`: one run: what it found, how it was made, what to do next, and where its report is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from retort.cli import options


def show(
    run: options.RunHere = ".", as_json: options.AsJson = False, require_better: options.RequireBetter = False
) -> None:
    """Print a run's result, how it was made and what to do next, and draw its report again."""
    from retort.report.worth import check_worth
    from retort.run.find import workspace

    metrics = show_run(workspace(run), as_json=as_json)
    if require_better:
        check_worth(metrics)


def show_run(root: Path, *, as_json: bool) -> dict[str, Any]:
    """Draw the page of the workspace `root` again, print its result and return its metrics.

    Raises:
        InputError: there is no report yet, or a table that it needs is missing or malformed.
    """
    from retort.report.made import made, made_lines
    from retort.report.prices import read_prices
    from retort.report.terminal import result_lines
    from retort.run.find import report_of
    from retort.run.paths import Paths
    from retort.stages.report import write_page

    metrics = report_of(root)
    page = write_page(Paths(root))
    if as_json:
        print(json.dumps(metrics, sort_keys=True))
        return metrics
    print("\n".join(result_lines(metrics, read_prices(root / "params.yaml"))))
    print("\n".join(["", *made_lines(made(root))]))
    if metrics["advice"]:
        print(
            "\n".join(
                ["", "What to do next", *(f"  {number}. {line}" for number, line in enumerate(metrics["advice"], 1))]
            )
        )
    print(f"\nReport: {page}")
    return metrics
