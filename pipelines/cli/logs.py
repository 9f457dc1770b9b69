"""`retort logs`: what the pods of a stage said."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from retort.cli import options
from retort.errors import ClusterError, harmless


def logs(
    run: options.Run,
    stage: Annotated[str, typer.Argument(help="Stage.")],
    item: Annotated[
        str | None, typer.Option(help="Only this shard or evaluation: 0, ppo-heldout.", show_default=False)
    ] = None,
    tail: Annotated[
        int | None, typer.Option(min=0, help="Only so many of the last lines of each pod.", show_default=False)
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run ends.")] = False,
    profile: options.Profile = "generic",
    host: options.Host = None,
) -> None:
    """Print the logs of a stage's pods, every attempt and shard."""
    from retort_pipelines.profiles import load_profile
    from retort_pipelines.runs import logs as library
    from retort_pipelines.runs import names, runs
    from retort_pipelines.runs.client import kubeflow

    placed = load_profile(profile)
    where = kubeflow(host, namespace=placed.namespace, patient=True)
    runs.check_stage(stage)
    found = runs.find(where, run)
    try:
        if follow and found.state not in names.ENDED:
            pods = library.follow(where, found.run_id, stage, placed.namespace, item=item, tail=tail)
        else:
            pods = library.logs(found.run_id, stage, placed.namespace, item=item, tail=tail)
        for pod, pieces in pods:
            print(f"--- {pod}", file=sys.stderr)
            for piece in pieces:
                text = piece.decode("utf-8", errors="replace")
                sys.stdout.write("\r".join(map(harmless, text.split("\r"))))  # progress bars write over themselves
                sys.stdout.flush()
    except ClusterError:
        kept = [one for one in runs.failures(found) if library.is_of(stage, one.task)]
        kept = [one for one in kept if item is None or one.task.endswith(f"-{item}")]
        if not kept:
            raise
        for one in kept:  # the pod is gone, its last words are not
            print(f"--- {one.pod} (last lines)", file=sys.stderr)
            print(harmless("\n".join([*one.lines, one.message])))
