"""`retort gc`: remove what nobody refers to any more."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retort.cli import options

if TYPE_CHECKING:
    from retort_pipelines.runs.cluster_uses import ClusterUses
    from retort_pipelines.runs.garbage import Collected, Size

_DAY = 86400.0


def gc(
    remote: Annotated[
        str | None, typer.Option(help="Object store, s3://BUCKET/FOLDER or a folder; the caches here when left out.")
    ] = None,
    keep: Annotated[
        list[Path] | None, typer.Option(help="Another checkout or workspace whose locks count; repeatable.")
    ] = None,
    forget: Annotated[
        list[str] | None, typer.Option(metavar="RUN", help="Id of a run that no longer counts; repeatable.")
    ] = None,
    older_than: Annotated[
        float | None, typer.Option(metavar="DAYS", help="Runs that ended longer ago no longer count.")
    ] = None,
    days: Annotated[float, typer.Option(help="What was written in the last so many days is left alone.")] = 14,
    delete: Annotated[bool, typer.Option("--delete", help="Remove it; else it is only said.")] = False,
    idle: Annotated[
        bool, typer.Option("--idle", help="Nobody uses the store now, nor a schedule: ask no Kubeflow, remove at once.")
    ] = False,
    profile: options.Profile = "generic",
    host: options.Host = None,
    as_json: options.AsJson = False,
) -> None:
    """Say what no kept run, tag, champion, schedule or run under way refers to, in a store or in the caches here."""
    from retort_pipelines.runs import garbage

    from retort.errors import ConfigError

    if days < 0 or (older_than or 0) < 0:
        raise ConfigError("--days and --older-than count days back from now: give no negative number.")
    if remote is None:
        if forget or older_than is not None:
            raise ConfigError("--forget and --older-than are about runs of a store: name it by --remote.")
        found = garbage.collect_caches(Path(), keep or [], young_s=days * _DAY, delete=delete)
        if not found:
            raise ConfigError(
                "this folder has no DVC project and no runs/, so no cache is known here. Go to yours, or name a store "
                "by --remote."
            )
    else:
        cluster = _cluster(remote, profile, host, idle=idle)
        if cluster is not None and days < 1:
            raise ConfigError(
                f"--days {days:g}: leave at least a day in a store that others use: pods send before they record."
            )
        one = garbage.collect_store(
            Path(),
            remote,
            keep or [],
            cluster=cluster,
            forget=forget or [],
            older_than_s=None if older_than is None else older_than * _DAY,
            young_s=days * _DAY,
            delete=delete,
        )
        found = [one]
        if cluster is not None:
            print(f"under way or scheduled: {', '.join(cluster.names) or 'nothing'}", file=sys.stderr)
    if as_json:
        print(json.dumps([asdict(one) for one in found], sort_keys=True))
        return
    for one in found:
        _show(one, days=days, delete=delete)


def _cluster(remote: str, profile: str, host: str | None, *, idle: bool) -> ClusterUses | None:
    """What is under way on the cluster that uses a store; a folder of this machine, no pod can reach."""
    from retort_pipelines.profiles import load_profile
    from retort_pipelines.runs.client import kubeflow
    from retort_pipelines.runs.cluster_uses import cluster_uses

    if idle or "://" not in remote:
        return None
    return cluster_uses(kubeflow(host, namespace=load_profile(profile).namespace))


def _show(one: Collected, *, days: float, delete: bool) -> None:
    from retort_pipelines.runs.garbage import remaining

    print(one.place)
    print(f"  referred to  {_words(one.used)}")
    for name, count in one.users.items():
        print(f"    {count:>7,}  {name}")
    print(f"  young        {_words(one.young)}, written in the last {days:g} days")
    print(f"  unused       {_words(one.unused)}")
    if one.records or one.fragments or one.passing.files:
        print(
            f"               {one.records:,} records of equal runs and {one.fragments:,} fragments of locks that name "
            f"them; {one.passing.files:,} files of resume states and the like"
        )
    if one.kept.files:
        print(f"  responses    {_words(one.kept)}, paid for, are kept")
    if one.settings.files:
        print(f"  settings     {_words(one.settings)}, read by reruns and schedules, are kept")
    if one.forgotten:
        print(f"  forgotten    {', '.join(one.forgotten)}")
    for name in one.lost:
        print(f"  nowhere      {name}")
    for name in one.damaged:
        print(f"  damaged      fragment {name}, left as it is: see `retort verify`")
    if not delete:
        print("  nothing was changed; --delete removes what is unused")
        return
    print(f"  removed      {_words(one.removed)}")
    if one.marked:
        print(
            f"  marked       {one.marked:,} contents: from {remaining(one.from_then_on)} on, `retort gc --delete` "
            "removes those that still nobody refers to"
        )


def _words(size: Size) -> str:
    number, unit = float(size.bytes), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if number < 1000 or unit == "TB":
            break
        number /= 1000
    return f"{size.files:,} files, {number:.{0 if unit == 'B' else 1}f} {unit}"
