"""`retort report`: show the last run's result, draw its page again, hand its student over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def report(
    workspace: Annotated[Path, typer.Option(help="Folder with params.yaml and the run's outputs.")] = Path(),
    export: Annotated[
        Path | None, typer.Option(help="Copy the final student with its model card to this folder.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the metrics as JSON.")] = False,
) -> None:
    """Print the last run's result and where its report is."""
    from retort.errors import InputError
    from retort.paths import Paths
    from retort.report.export import export_student
    from retort.report.terminal import result_lines
    from retort.stages.report import write_page

    paths = Paths(workspace)
    file = paths.report / "metrics.json"
    if not file.exists():
        raise InputError("does not exist", file=file, remedy="Run `retort run` first")
    metrics = json.loads(file.read_text(encoding="utf-8"))
    page = write_page(paths)
    if export is not None:
        export_student(paths, metrics["final_model"], export)
    if as_json:
        print(json.dumps(metrics, sort_keys=True))
        return
    print("\n".join(result_lines(metrics)))
    print(f"\nReport: {page}")
    if export is not None:
        print(f"Student: {export} ({metrics['final_model']})")
