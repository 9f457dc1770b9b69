"""`retort rerun`: do part of a run again."""

from __future__ import annotations

from typing import Annotated

import typer

from retort.cli import options


def rerun(
    run: options.Run,
    start: Annotated[str, typer.Option("--from", help="First stage that runs again, though nothing changed.")],
    name: Annotated[str | None, typer.Option(help="Name of the new run.")] = None,
    profile: options.Profile = "generic",
    host: options.Host = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the run to its end.")] = False,
) -> None:
    """Run a stage of a run and all after it again, on the same data, parameters and code; the others are kept."""
    from retort_pipelines.cli.status import follow
    from retort_pipelines.profiles import load_profile
    from retort_pipelines.runs import names, runs, submit
    from retort_pipelines.runs.client import kubeflow

    placed = load_profile(profile)
    where = kubeflow(host, namespace=placed.namespace)
    found = runs.find(where, run)
    name = name or f"{found.display_name[: submit.LONGEST_NAME - 6 - len(start)]}-from-{start.replace('_', '-')}"
    submit.check_name(name)
    submission, given = submit.resubmission(found, placed, name, start)
    names.check_free(where, name)
    made = submit.start(where, submission, given)
    print(f"{name}  {made.run_id}\n{where.link(made.run_id)}")
    if wait:
        follow(where, made.run_id, placed.namespace)
