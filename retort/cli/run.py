"""`retort run`: the whole graph, in this checkout or in a workspace of its own under `runs/`."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated

import typer


class On(StrEnum):
    """What schedules the stages."""

    dvc = "dvc"
    kfp_local = "kfp-local"


def run(
    config: Annotated[
        Path | None, typer.Option(help="Configuration; when left out, params.yaml of this folder.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the workspace under runs/; the configuration's.")] = None,
    on: Annotated[On, typer.Option(help="What schedules the stages.")] = On.dvc,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a value of --config; repeatable.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the metrics as JSON.")] = False,
) -> None:
    """Run every stage whose inputs, parameters or code changed, and show the results."""
    from retort.cli.show import show_run
    from retort.run.record import recorded

    root = _workspace(config, name, changes or [])
    # Stages are commands of this very installation, also where its environment was not activated.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with recorded(root) as ran:
        if on is On.dvc:
            from retort.run import dvc_adapter

            ran.extend(dvc_adapter.reproduce(root))
        else:
            (runner,) = entry_points(group="retort.runners", name=on.value)
            ran.extend(runner.load()(root))
    print(f"{root}: {f'{len(ran)} tasks ran' if ran else 'nothing has changed since the last run'}", file=sys.stderr)
    show_run(root, as_json=as_json)


def _workspace(config: Path | None, name: str | None, changes: list[str]) -> Path:
    """The workspace that is run, in line with its configuration."""
    from retort.config import load_config
    from retort.errors import ConfigError
    from retort.run import workspace

    if config is None:
        if changes or name:
            raise ConfigError(
                "--set and --name need --config: give `--config params.yaml --name NAME` for a changed copy of this "
                "folder's run, or edit params.yaml."
            )
        if not Path(".dvc").is_dir() and Path("params.yaml").exists():
            raise ConfigError(
                "this folder is no DVC project. Run `git init` and `dvc init` here first (or `dvc init --no-scm`), or "
                "give --config, which makes a workspace of its own under runs/."
            )
        workspace.refresh(Path())
        return Path()
    root = Path("runs") / (name or config.stem)
    if root.parent != Path("runs") or not root.name.replace("-", "").replace("_", "").replace(".", "").isalnum():
        raise ConfigError(f"--name {name}: use letters, digits, dots, dashes and underscores.")
    loaded = load_config(config, changes=changes)
    workspace.create(root, loaded, home=Path(), remote="runs/.remote", cache=Path("runs/.cache"))
    return root
