"""`retort submit`: run a configuration on a cluster."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from retort.cli import options

_WORDS = {"SUCCEEDED": "has ended well already (SUCCEEDED)"}


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
    check: Annotated[
        bool, typer.Option(help="Look first for what would stop the run, here and in the cluster.")
    ] = True,
    as_json: options.AsJson = False,
) -> None:
    """Check all that can be checked, then schedule the run, unless an equal one is under way or has ended well."""
    from retort_pipelines.cli.status import follow
    from retort_pipelines.profiles import load_profile
    from retort_pipelines.runs import submit as submitting
    from retort_pipelines.runs.client import kubeflow

    from retort.cli.check import before_submit
    from retort.config import load_config

    loaded, placed = load_config(config, changes=changes or []), load_profile(profile)
    store = submitting.remote_of(remote, placed)
    name = name or submitting.name_of(config, loaded, placed)
    submitting.check_name(name)
    if check:
        before_submit(loaded, config)
    where = kubeflow(host, namespace=placed.namespace)
    submission = submitting.Submission(name, loaded, placed, store)
    made = submitting.submit(where, submission, check=check)
    if not made.new:
        print(f"{name}: {_WORDS.get(made.state, 'is under way')}, nothing was started", file=sys.stderr)
    elif made.before:
        print(f"{name}: the run before ended {made.before}; this one goes on from what it kept", file=sys.stderr)
    if as_json:
        answer = {"name": name, "run_id": made.run_id, "link": where.link(made.run_id)}
        print(json.dumps(answer | {"new": made.new, "state": made.state}))
    else:
        print(f"{name}  {made.run_id}\n{where.link(made.run_id)}")
    if wait:
        follow(where, made.run_id, placed.namespace)
