"""`retort submit`: run a configuration on a cluster."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from retort.cli import options


def submit(
    config: options.Config = Path("configs/demo.yaml"),
    name: Annotated[
        str | None, typer.Option(help="Name of the run; the configuration's, with a hash of all it depends on.")
    ] = None,
    profile: options.Profile = "generic",
    host: options.Host = None,
    remote: options.Remote = None,
    changes: options.Changes = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the run to its end.")] = False,
    check: Annotated[bool, typer.Option(help="Ask Kubernetes first whether the run can succeed.")] = True,
    as_json: options.AsJson = False,
) -> None:
    """Check everything that can be checked, then schedule the run; a run that is there already is not started twice."""
    from retort_pipelines.cli.status import follow
    from retort_pipelines.profiles import load_profile
    from retort_pipelines.runs import submit as submitting
    from retort_pipelines.runs.client import kubeflow

    from retort.config import load_config

    loaded, placed = load_config(config, changes=changes or []), load_profile(profile)
    store = submitting.remote_of(remote)
    name = name or submitting.name_of(config, loaded, placed)
    submitting.check_name(name)
    where = kubeflow(host, namespace=placed.namespace)
    submission = submitting.Submission(name, loaded, placed, store)
    run_id, new = submitting.submit(where, submission, check=check)
    if not new:
        print(f"{name}: is there already, nothing was started", file=sys.stderr)
    if as_json:
        print(json.dumps({"name": name, "run_id": run_id, "link": where.link(run_id), "new": new}))
    else:
        print(f"{name}  {run_id}\n{where.link(run_id)}")
    if wait:
        follow(where, run_id)
