"""`retort stage NAME`: run one stage here; what DVC, local Kubeflow and pods all call."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def stage(
    name: Annotated[str, typer.Argument(help="Stage to run, as named in dvc.yaml.")],
    shard: Annotated[str | None, typer.Option(help="Shard of a response stage.")] = None,
    model: Annotated[str | None, typer.Option(help="Model that `evaluate` runs.")] = None,
    benchmark: Annotated[str | None, typer.Option(help="Benchmark that `evaluate` runs it on.")] = None,
    workspace: Annotated[Path, typer.Option(help="Folder with params.yaml.")] = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="Print the metrics as JSON.")] = False,
) -> None:
    """Run one task of a stage in a workspace and print its metrics."""
    from retort import interruption
    from retort.stages.context import run_stage

    interruption.listen()
    given = {"shard": shard, "model": model, "benchmark": benchmark}
    metrics = run_stage(name, {key: value for key, value in given.items() if value is not None}, workspace)
    if as_json:
        print(json.dumps(metrics, sort_keys=True))
    else:
        for key, value in metrics.items():
            print(f"{key}: {value}")
