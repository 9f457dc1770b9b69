"""`retort schedule`: runs that come back."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from retort.cli import options

schedule = typer.Typer(no_args_is_help=True, help="Retrain on a schedule; it skips when its data has not changed.")

Name = Annotated[str, typer.Argument(help="Name of the schedule.")]


@schedule.command("set")
def put(
    name: Name,
    config: options.Config = Path("configs/demo.yaml"),
    cron: Annotated[
        str | None, typer.Option(help="Five or six fields, in Kubeflow's zone: '0 3 * * 1' is Mondays at 3:00.")
    ] = None,
    every: Annotated[str | None, typer.Option(help="Interval instead: 12h, 7d.")] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE=ADDRESS", help="Where a source file's current content lies, s3://...; repeatable."),
    ] = None,
    profile: options.Profile = "generic",
    host: options.Host = None,
    remote: options.Remote = None,
    changes: options.Changes = None,
    check: Annotated[
        bool, typer.Option(help="Look first for what would stop its runs, here and in the cluster.")
    ] = True,
) -> None:
    """Make a schedule, or replace the one of that name; it never catches up and never overlaps itself."""
    from retort_pipelines.profiles import load_profile
    from retort_pipelines.runs import schedule as library
    from retort_pipelines.runs import submit
    from retort_pipelines.runs.client import kubeflow

    from retort.cli.check import before_submit
    from retort.config import load_config
    from retort.errors import ConfigError

    moment = library.when(cron, every)
    pairs = [text.partition("=") for text in data or []]
    if any(not equals or not address for _, equals, address in pairs):
        raise ConfigError("--data: write FILE=ADDRESS, such as data/prompts.jsonl=s3://exports/prompts.jsonl.")
    placed = load_profile(profile)
    submit.check_name(name)
    loaded = load_config(config, changes=changes or [])
    what = submit.Submission(name, loaded, placed, submit.remote_of(remote, placed))
    if check:
        before_submit(loaded, config)
    where = kubeflow(host, namespace=placed.namespace)
    addresses = {file: address for file, _, address in pairs}
    library.upsert(where, what, moment, addresses, check=check)
    print(f"{name}: {moment.words}")
    if moment.cron:
        print("Kubeflow reads it in its own zone: CRON_SCHEDULE_TIMEZONE, UTC where that is not set.", file=sys.stderr)


@schedule.command("list")
def show(profile: options.Profile = "generic", host: options.Host = None, as_json: options.AsJson = False) -> None:
    """List schedules."""
    from retort_pipelines.profiles import load_profile
    from retort_pipelines.runs import schedule as library
    from retort_pipelines.runs.client import kubeflow

    rows = []
    for one in library.listed(kubeflow(host, namespace=load_profile(profile).namespace)):
        cron, periodic = one.trigger.cron_schedule, one.trigger.periodic_schedule
        moment = library.When(cron and cron.cron, periodic and int(periodic.interval_second))
        rows.append({"name": one.display_name, "when": moment.words, "status": one.status})
    if as_json:
        print(json.dumps(rows))
        return
    for row in rows:
        print(f"{row['name']:<32} {row['status']:<10} {row['when']}")


def _change(action: str, name: str, profile: str, host: str | None) -> None:
    from retort_pipelines.profiles import load_profile
    from retort_pipelines.runs import schedule as library
    from retort_pipelines.runs.client import kubeflow

    library.change(kubeflow(host, namespace=load_profile(profile).namespace), name, action)
    print(f"{name}: {action}d")


@schedule.command()
def pause(name: Name, profile: options.Profile = "generic", host: options.Host = None) -> None:
    """Let a schedule rest."""
    _change("pause", name, profile, host)


@schedule.command()
def resume(name: Name, profile: options.Profile = "generic", host: options.Host = None) -> None:
    """Let it fire again."""
    _change("resume", name, profile, host)


@schedule.command()
def remove(name: Name, profile: options.Profile = "generic", host: options.Host = None) -> None:
    """Remove it; its runs stay."""
    _change("remove", name, profile, host)
