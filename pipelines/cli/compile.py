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
    remote: Annotated[
        str | None, typer.Option(help="Object store of the runs that the interface starts.", show_default=False)
    ] = None,
) -> None:
    """Write the pipeline as YAML; with an object store (--remote), as one that Kubeflow's interface can start.

    The source files are sent to that store then, and the arguments that `retort submit` would make are its defaults.
    """
    from retort_pipelines.graph.compile import compile as write
    from retort_pipelines.profiles import load_profile
    from retort_pipelines.runs import submit

    from retort.config import load_config
    from retort.errors import ConfigError
    from retort.io.files import atomic_path

    if out.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"--out {out}: Kubeflow takes a pipeline as a file whose name ends with .yaml or .yml.")
    loaded, placed = load_config(config, changes=changes or []), load_profile(profile)
    defaults = None
    if remote:
        store, name = submit.remote_of(remote, placed), submit.name_of(config, loaded, placed)
        defaults = submit.prepare(submit.Submission(name, loaded, placed, store))
    with atomic_path(out) as temporary:
        made = temporary.with_suffix(".yaml")  # the compiler looks at the name
        write(loaded, placed, made, defaults=defaults)
        made.replace(temporary)
    print(out)
