"""`retort graph`: the tasks of a run, and a project's own dvc.yaml."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def graph(
    config: Annotated[Path, typer.Option(help="Configuration, a file or one that comes with Retort.")] = Path(
        "params.yaml"
    ),
    write: Annotated[
        bool, typer.Option("--write", help="Write params.yaml, dvc.yaml and code.yaml of this folder.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the tasks as JSON.")] = False,
) -> None:
    """Print the tasks of a configuration, each with what it reads and writes; or make this folder its DVC project."""
    from retort.config import load_config
    from retort.run import workspace
    from retort.run.graph import as_plain
    from retort.run.tasks import graph as graph_of

    if write:
        if config == Path("params.yaml"):
            workspace.refresh(Path())
        else:
            workspace.adopt(config)
    made = graph_of(load_config(config))
    if as_json:
        print(json.dumps([{"address": task.address, **as_plain(task)} for task in made], sort_keys=True))
        return
    width = max(len(task.address) for task in made)
    for task in made:
        print(f"{task.address:<{width}}  {', '.join(task.deps) or '-'} -> {', '.join(task.outs)}")
