"""`retort run`: the whole graph, in this checkout or in a workspace of its own under `runs/`."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated

import typer

from retort.cli import options
from retort.io import terminal


class On(StrEnum):
    """What schedules the stages."""

    dvc = "dvc"
    kfp_local = "kfp-local"


def run(
    config: Annotated[
        Path | None, typer.Option(help="Configuration; when left out, retort.yaml or params.yaml of this folder.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the workspace under runs/; the configuration's.")] = None,
    on: Annotated[On, typer.Option(help="What schedules the stages.")] = On.dvc,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a value of --config; repeatable.")
    ] = None,
    check: Annotated[bool, typer.Option(help="Look first for what would stop the run.")] = True,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show all that tasks and the libraries below them write.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show warnings, errors and the result alone.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the metrics as JSON.")] = False,
    require_better: options.RequireBetter = False,
) -> None:
    """Run every stage whose inputs, parameters or code changed, and show the results."""
    from retort.cli.show import show_run
    from retort.report.worth import check_worth
    from retort.run.record import recorded

    with terminal.showing("quiet" if quiet else "verbose" if verbose else "calm"):
        root = _workspace(config, name, changes or [], checked=check)
        # Stages are commands of this very installation, also where its environment was not activated.
        os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        with recorded(root) as ran:
            if on is On.dvc:
                ran.extend(_reproduce(root))
            else:
                (runner,) = entry_points(group="retort.runners", name=on.value)
                ran.extend(runner.load()(root))
    if not quiet:
        words = f"{len(ran)} tasks ran" if ran else "nothing has changed since the last run"
        print(f"{root}: {words}", file=sys.stderr)
    metrics = show_run(root, as_json=as_json)
    if require_better:
        check_worth(metrics)


def _reproduce(root: Path) -> list[str]:
    """Bring the workspace up to date, a line for each task.

    Raises:
        StoppedError: the user pressed Ctrl-C; says what is kept.
    """
    from retort.cli.lines import Lines
    from retort.config import load_config
    from retort.errors import StageError, StoppedError
    from retort.plan.memory import planned_memory
    from retort.run import dvc_adapter
    from retort.run.paths import Paths
    from retort.run.tasks import graph

    lines = Lines(root, graph(load_config(root / "params.yaml", root=root), root))
    try:
        return dvc_adapter.reproduce(root, told=None if terminal.level() == "verbose" else lines)
    except StoppedError as error:
        raise StoppedError(error.task, lines.left(error.task)) from error
    except KeyboardInterrupt as error:  # between two tasks
        raise StoppedError(None, lines.left(None)) from error
    except StageError as error:
        if (log := Paths(root).log(error.task)).exists():
            print(f"All that {error.task} wrote: {log}", file=sys.stderr)
        if error.killed and (planned := planned_memory(load_config(root / "params.yaml", root=root), root, error.task)):
            print(f"{planned}.", file=sys.stderr)
        raise


def _workspace(config: Path | None, name: str | None, changes: list[str], *, checked: bool) -> Path:
    """The workspace that is run, in line with its configuration, which was checked before anything was written."""
    from retort.cli.check import before_run
    from retort.config import load_config
    from retort.errors import ConfigError
    from retort.run import project, workspace
    from retort.run.find import new_workspace

    if config is None:
        if changes or name:
            mine = project.CONFIG if project.is_project(Path()) else "params.yaml"
            raise ConfigError(
                f"--set and --name need --config: give `--config {mine} --name NAME` for a changed copy of this "
                f"folder's run, or edit {mine}."
            )
        own = project.own_config(Path())
        if not Path(".dvc").is_dir():
            raise ConfigError(
                "this folder is no DVC project. Run `git init` and `dvc init` here first (or `dvc init --no-scm`), or "
                "give --config, which makes a workspace of its own under runs/."
            )
        if checked:
            before_run(load_config(own), own, Path(), Path())
        project.bring_up(Path()) if project.is_project(Path()) else workspace.refresh(Path())
        return Path()
    root = new_workspace(name or config.stem)
    loaded = load_config(config, changes=changes)
    if checked:
        before_run(loaded, config, Path(), root)
    remote, cache = project.stores(Path())
    workspace.create(root, loaded, home=Path(), remote=remote, cache=cache)
    return root
