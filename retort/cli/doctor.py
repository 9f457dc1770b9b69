"""`retort doctor`: say what is missing on this machine and how to get it."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated

import typer

from retort.cli import options
from retort.errors import MissingToolError


def doctor(
    context: typer.Context,
    workspace: Annotated[Path, typer.Option(help="Folder with params.yaml and .dvc.")] = Path(),
    cluster: Annotated[bool, typer.Option("--cluster", help="Check the cluster of KUBECONFIG instead.")] = False,
    profile: options.Profile = "generic",
    host: options.Host = None,
    remote: options.Remote = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the checks as one JSON object.")] = False,
) -> None:
    """Check this machine, a cluster, or an object store (--remote); exit code 69 where every run lacks something."""
    from retort.run.doctor import examine
    from retort.run.store_checks import examine_store

    given = context.get_parameter_source("remote")
    if remote is not None and not cluster and given is not None and given.name == "COMMANDLINE":
        checks = examine_store(remote)
    elif cluster:
        (doctor,) = entry_points(group="retort.doctors", name="cluster")
        checks = doctor.load()(profile, host, remote)
    else:
        checks = examine(workspace)
    missing = [check.name for check in checks if check.status == "missing"]
    if as_json:
        print(json.dumps({"ready": not missing, "checks": [asdict(check) for check in checks]}, sort_keys=True))
    else:
        width = max(len(check.name) for check in checks)
        for check in checks:
            print(f"{check.status:<8}  {check.name:<{width}}  {check.found}")
            if check.remedy:
                print(f"{'':<8}  {'':<{width}}  -> {check.remedy}")
        print("Ready." if not missing else f"Missing: {', '.join(missing)}.")
    if missing:
        raise typer.Exit(MissingToolError.exit_code)
