"""`retort compile`: the pipeline as a file for Kubeflow."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from retort.cli import options


def compile(  # noqa: A001 - the verb's name
    config: options.Config = Path("configs/demo.yaml"),
    profile: options.Profile = "generic",
    out: Annotated[Path, typer.Option(help="File to write.")] = Path("pipeline.yaml"),
    changes: options.Changes = None,
) -> None:
    """Write the pipeline as YAML; its arguments are made by `retort submit`."""
    from retort_pipelines.graph.compile import compile as write
    from retort_pipelines.profiles import load_profile

    from retort.config import load_config

    write(load_config(config, changes=changes or []), load_profile(profile), out)
    print(out)
