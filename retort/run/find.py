"""Finding workspaces by the names that people give runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from retort.config.base import unknown
from retort.errors import ConfigError, InputError
from retort.run.paths import Paths

RUNS = "runs"


def workspaces(home: Path = Path()) -> list[Path]:
    """The workspaces of a folder: itself, where it is one, and those under `runs/`, by name."""
    found = [home] if _is_workspace(home) else []
    return found + sorted(path for path in (home / RUNS).glob("*") if _is_workspace(path))


def workspace(run: str | Path, home: Path = Path()) -> Path:
    """The workspace of a run: its name under `runs/`, or a folder; `.` is the run of this folder itself.

    Raises:
        ConfigError: there is none; names the nearest.
    """
    for place in (home / RUNS / run, home / run):
        if _is_workspace(place):
            return place
    names = [path.name or "." for path in workspaces(home)]
    if not names:
        raise ConfigError(
            f"no run {str(run)!r} here, nor any other: `retort run` makes one, `retort pull RUN` fetches one of a "
            "cluster."
        )
    raise ConfigError(
        unknown(f"run {str(run)!r}", str(run), names) + ". `retort runs` lists those that are here; `retort pull RUN` "
        "fetches one of a cluster."
    )


def name_of(root: Path) -> str:
    """What a run is called: its folder's name."""
    return root.resolve().name


def new_workspace(name: str) -> Path:
    """Where a run of that name has its workspace.

    Raises:
        ConfigError: it is no name of a folder.
    """
    root = Path(RUNS) / name
    if root.parent != Path(RUNS) or not root.name.replace("-", "").replace("_", "").replace(".", "").isalnum():
        raise ConfigError(f"--name {name}: use letters, digits, dots, dashes and underscores.")
    return root


def report_of(root: Path) -> dict[str, Any]:
    """The content of a run's `outputs/report/metrics.json`.

    Raises:
        InputError: there is none yet, or it is no JSON object.
    """
    file = Paths(root).report / "metrics.json"
    if not file.exists():
        raise InputError(
            "does not exist", file=file, remedy="Run `retort run` first, or fetch the run: `retort pull RUN`"
        )
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"is not JSON ({error})", file=file, remedy="`retort run` writes it again") from error
    return found


def _is_workspace(folder: Path) -> bool:
    return (folder / "params.yaml").is_file() and (folder / "dvc.yaml").is_file()
