"""`retort verify`: whether what a run recorded is still there and still the same."""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import asdict
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated

import typer

from retort.cli import options
from retort.errors import ConfigError, IntegrityError


def verify(
    run: Annotated[
        str | None, typer.Argument(help="Workspace under runs/, or a run of a cluster by name or id; this folder.")
    ] = None,
    workspace: Annotated[Path, typer.Option(help="Folder with dvc.lock, where no run is named.")] = Path(),
    repair: Annotated[
        bool, typer.Option("--repair", help="Remove what is not to be used, and put back what there is a copy of.")
    ] = False,
    profile: options.Profile = "generic",
    host: options.Host = None,
    as_json: options.AsJson = False,
) -> None:
    """Read everything that a run recorded, in the store and here, and say what is damaged or missing; then exit 65."""
    from retort.run import dvc_adapter
    from retort.run.verify import verify as library

    root = Path("runs") / run if run else workspace
    if (root / "dvc.lock").exists():
        report = library(root, dvc_adapter.read_lock(root), repair=repair)
    elif run and (found := entry_points(group="retort.locks")):
        remote, lock = next(iter(found)).load()(run, profile, host)
        with tempfile.TemporaryDirectory(prefix="retort-") as folder:
            cache = Path("runs/.cache") if Path("runs/.cache").exists() else None
            dvc_adapter.init(Path(folder), remote=remote, cache=cache, site_cache=Path(folder) / ".dvc/site")
            report = library(Path(folder), lock, stored=True, repair=repair)
    else:
        raise ConfigError(f"{root}: has no dvc.lock, so no run is recorded there. Name a run or another --workspace.")
    if as_json:
        print(json.dumps(asdict(report), sort_keys=True))
    else:
        for one in report.findings:
            maker = f"stage {one.stage}" if one.stage else "no stage"
            print(f"{'repaired' if one.repaired else one.kind}: {one.path} ({maker})\n  {one.place}\n  -> {one.remedy}")
        print(
            f"{report.contents} contents and {report.records} records of runs read, in the store and here; "
            f"{report.unsent} contents are on this machine alone",
            file=sys.stderr,
        )
        print(f"{len(report.findings)} findings, {len(report.open)} not repaired")
    if report.open:
        raise typer.Exit(IntegrityError.exit_code)
