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
    from retort.errors import ConfigError
    from retort.io.files import atomic_path

    if out.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"--out {out}: Kubeflow takes a pipeline as a file whose name ends with .yaml or .yml.")
    loaded, placed = load_config(config, changes=changes or []), load_profile(profile)
    with atomic_path(out) as temporary:
        made = temporary.with_suffix(".yaml")  # the compiler looks at the name
        write(loaded, placed, made)
        made.replace(temporary)
    print(out)
