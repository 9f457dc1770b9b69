"""`retort logs`: what the pods of a stage said."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from retort.cli import options
from retort.errors import ClusterError


def logs(
    run: options.Run,
    stage: Annotated[str, typer.Argument(help="Stage.")],
    profile: options.Profile = "generic",
    host: options.Host = None,
) -> None:
    """Print the logs of a stage's pods, every attempt and shard."""
    from retort_pipelines.profiles import load_profile
    from retort_pipelines.runs import runs
    from retort_pipelines.runs.client import kubeflow

    placed = load_profile(profile)
    found = runs.find(kubeflow(host, namespace=placed.namespace), run)
    try:
        for pod, text in runs.logs(found.run_id, stage, placed.namespace):
            print(f"--- {pod}", file=sys.stderr)
            print(text)
    except ClusterError:
        kept = [one for one in runs.failures(found) if one.task.partition("@")[0] == stage]
        if not kept:
            raise
        for one in kept:  # the pod is gone, its last words are not
            print(f"--- {one.pod} (last lines)", file=sys.stderr)
            print("\n".join([*one.lines, one.message]))
