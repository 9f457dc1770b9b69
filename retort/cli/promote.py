"""`retort promote`: let a run's student become the champion, if it earns it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from retort.cli import options


def promote(
    run: Annotated[str, typer.Argument(help="Name of a run under runs/ (`retort pull` fetches one).")],
    benchmark: Annotated[str | None, typer.Option(help="Held-out benchmark that decides; the report's own.")] = None,
    margin: Annotated[float, typer.Option(min=0, max=1, help="Accuracy that being cheaper may cost.")] = 0.01,
    force: Annotated[bool, typer.Option("--force", help="Crown it whatever the comparison says; recorded.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Compare the run's student with the champion on held-out items; crown it if better, or as good and cheaper."""
    from retort.run import champion

    root, workspace = Path(), Path("runs") / run
    if force:
        alone = champion.unopposed(run, workspace, benchmark=benchmark)
        decision = dataclasses.replace(alone, reason="by --force")
    else:
        decision = champion.judge(root, run, workspace, benchmark=benchmark, margin=margin)
    champion.crown(root, decision, workspace, benchmark=benchmark)
    if as_json:
        print(json.dumps(dataclasses.asdict(decision)))
    else:
        print(
            f"{run} ({decision.model}) {'is champion' if decision.promoted else 'stays challenger'}: {decision.reason}"
        )
        print(
            "Recorded in champion.dvc: commit it." if decision.promoted else "The decision is recorded in champion.dvc."
        )
    if not decision.promoted:
        raise typer.Exit(1)
