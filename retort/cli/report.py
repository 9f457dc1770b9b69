"""`retort report`: show the last run's result, draw its page again, hand its student over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from retort.cli import options


def report(
    workspace: Annotated[Path, typer.Option(help="Folder with params.yaml and the run's outputs.")] = Path(),
    export: Annotated[
        Path | None, typer.Option(help="Copy the final student with its model card to this folder.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the metrics as JSON.")] = False,
    require_better: options.RequireBetter = False,
) -> None:
    """Print the last run's result and where its report is."""
    from retort.report.export import export_student
    from retort.report.worth import check_worth
    from retort.run.paths import Paths

    metrics = show_report(workspace, as_json=as_json)
    if require_better:
        check_worth(metrics)
    if export is not None:
        export_student(Paths(workspace), metrics["final_model"], export)
        if not as_json:
            print(f"Student: {export} ({metrics['final_model']})")


def show_report(root: Path, *, as_json: bool) -> dict[str, Any]:
    """Draw the page of the workspace `root` again, print its metrics and return them.

    Raises:
        InputError: there is no report yet, or a table that it needs is missing or malformed.
    """
    from retort.errors import InputError
    from retort.report.prices import read_prices
    from retort.report.terminal import result_lines
    from retort.run.paths import Paths
    from retort.stages.report import write_page

    paths = Paths(root)
    file = paths.report / "metrics.json"
    if not file.exists():
        raise InputError("does not exist", file=file, remedy="Run `retort run` first")
    metrics: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    page = write_page(paths)
    if as_json:
        print(json.dumps(metrics, sort_keys=True))
    else:
        print("\n".join(result_lines(metrics, read_prices(root / "params.yaml"))))
        print(f"\nReport: {page}")
    return metrics
