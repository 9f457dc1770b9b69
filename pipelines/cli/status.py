"""`retort status`: what a run's stages do."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from retort.cli import options
from retort.errors import StageError
from retort.pod.run_records import Failure, alike

if TYPE_CHECKING:
    from retort_pipelines.runs.client import Kubeflow

_LAST = 3
"""Lines of a failed stage that `status` shows; `logs` and the summary have more."""


def status(
    run: options.Run,
    profile: options.Profile = "generic",
    host: options.Host = None,
    as_json: options.AsJson = False,
) -> None:
    """Show a run's stages, why pods do not start, and what failed ones said."""
    from retort_pipelines.profiles import load_profile
    from retort_pipelines.runs import runs
    from retort_pipelines.runs.client import kubeflow

    placed = load_profile(profile)
    where = kubeflow(host, namespace=placed.namespace)
    found = runs.find(where, run)
    stages, failed = runs.statuses(where, found.run_id), runs.failures(found)
    if as_json:
        rows = [asdict(one) | {"state": one.state} for one in stages]
        said = {
            "name": found.display_name,
            "run_id": found.run_id,
            "state": found.state,
            "link": where.link(found.run_id),
        }
        print(json.dumps(said | {"stages": rows, "failures": [asdict(one) for one in failed]}))
        return
    print(f"{found.display_name}  {found.state}\n{where.link(found.run_id)}")
    for line in lines(stages):
        print(line)
    for text in reasons(failed):
        print(f"\n{text}")
    if found.state not in runs.ENDED:
        for words in runs.waiting(found.run_id, placed.namespace):
            print(f"waiting: {words}")


def lines(stages: list[Any]) -> list[str]:
    """A line a stage: its state, time and tasks."""
    made = []
    for one in stages:
        seconds = "" if one.seconds is None else f"{one.seconds:.0f} s"
        many = f"{len(one.states)} tasks" if len(one.states) > 1 else ""
        tries = f"{one.attempts} pods" if one.attempts > len(one.states) else ""
        made.append(
            f"  {one.stage:<18} {one.state:<10} {seconds:>8}  {', '.join(filter(None, (many, tries)))}".rstrip()
        )
    return made


def reasons(failures: Sequence[Failure]) -> list[str]:
    """What failed, why and what its stage said last; attempts that ended alike once."""
    made = []
    for one, more in alike(failures):
        pods = f"pod {one.pod}" + (f" and {more} more" if more else "")
        said = [f"  | {line}" for line in one.lines[-_LAST:]]
        made.append("\n".join([f"{one.task}, {pods}, exit code {one.exit_code}:", *said, f"  {one.message}"]))
    return made


def follow(where: Kubeflow, run_id: str) -> None:
    """Follow a run to its end on stderr.

    Raises:
        StageError: it did not end well.
    """
    from retort_pipelines.runs import runs

    shown: dict[str, str] = {}

    def show(_: Any, stages: list[Any]) -> None:
        for one, line in zip(stages, lines(stages), strict=True):
            if shown.get(one.stage) != one.state:
                shown[one.stage] = one.state
                print(line, file=sys.stderr)

    run = runs.wait(where, run_id, show)
    print(f"{run.display_name}  {run.state}", file=sys.stderr)
    if run.state != "SUCCEEDED":
        failed = runs.failures(run)
        for text in reasons(failed):
            print(text, file=sys.stderr)
        raise StageError(failed[-1].task if failed else run.display_name, failed[-1].exit_code if failed else 1)
