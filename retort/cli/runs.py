"""`retort runs`: the runs that there are, here and on a cluster."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from importlib.metadata import entry_points
from typing import Annotated

import typer

from retort.cli import options


def runs(
    cluster: Annotated[bool, typer.Option("--cluster", help="Those of the Kubeflow too.")] = False,
    newest: Annotated[int, typer.Option(min=1, help="How many of a Kubeflow's runs, newest first.")] = 20,
    profile: options.Profile = "generic",
    host: options.Host = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False,
) -> None:
    """List runs: name, state, when, who, commit and ten figures."""
    from retort.report.runs import lines, local_runs

    found = local_runs()
    if cluster:
        for entry in entry_points(group="retort.runs"):
            found += entry.load()(profile, host, newest)
    if as_json:
        print(json.dumps([asdict(one) for one in found], sort_keys=True))
        return
    if not found:
        print("no runs here; `retort run` makes one")
        return
    print("\n".join(lines(found, shutil.get_terminal_size((160, 24)).columns)))
