"""`retort status`: what a run's stages do."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from retort.cli import options
from retort.errors import ClusterError, StageError, harmless
from retort.pod.run_records import Failure, alike

if TYPE_CHECKING:
    from retort_pipelines.runs.client import Kubeflow

UNASKED = "why pods do not start cannot be asked"

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
    from retort_pipelines.runs import names, runs
    from retort_pipelines.runs.client import kubeflow
    from retort_pipelines.runs.waiting import summed, waiting

    placed = load_profile(profile)
    where = kubeflow(host, namespace=placed.namespace, patient=True)
    found = runs.find(where, run)
    workflow, state = where.workflow(found.run_id), names.state_of(where, found)
    stages, failed = runs.statuses(workflow), runs.failures(found)
    pending: list[str] = []
    if state not in names.ENDED:
        try:
            pending = summed(waiting(found.run_id, placed.namespace, workflow))
        except ClusterError as error:  # what the run does, Kubeflow says alone
            pending = [f"{UNASKED}: {error}"]
    ended = runs.ended_pods(workflow)
    if as_json:
        rows = [asdict(one) | {"state": one.state} for one in stages]
        whole = {
            "name": found.display_name,
            "run_id": found.run_id,
            "state": state,
            "link": where.link(found.run_id),
            "waiting": pending,
            "ended_pods": ended,
        }
        print(json.dumps(whole | {"stages": rows, "failures": [asdict(one) for one in failed]}))
        return
    print(f"{found.display_name}  {state}\n{where.link(found.run_id)}")
    for line in lines(stages):
        print(line)
    for text in reasons(failed):
        print(f"\n{text}")
    for words in ended:
        print(words)
    for words in pending:
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
        whole = "\n".join([f"{one.task}, {pods}, exit code {one.exit_code}:", *said, f"  {one.message}"])
        made.append(harmless(whole))
    return made


def follow(where: Kubeflow, run_id: str, namespace: str) -> None:
    """Follow a run to its end on stderr: each change of a stage, and once each reason for which pods wait.

    Raises:
        StageError: it did not end well.
        UnknownOutcomeError: Kubeflow went away and stayed away; the run may live.
    """
    from retort_pipelines.runs import runs

    shown = _Shown(namespace)
    run = runs.wait(where.patient(), run_id, shown)
    print(f"{run.display_name}  {run.state}", file=sys.stderr)
    if run.state != "SUCCEEDED":
        failed = runs.failures(run)
        for text in [*reasons(failed), *runs.ended_pods(shown.workflow)]:
            print(text, file=sys.stderr)
        raise StageError(failed[-1].task if failed else run.display_name, failed[-1].exit_code if failed else 1)


class _Shown:
    """Prints what is new about a run."""

    def __init__(self, namespace: str):
        self.namespace = namespace
        self.states: dict[str, str] = {}
        self.told: set[str] = set()
        self.workflow: Mapping[str, Any] = {}

    def __call__(self, run: Any, stages: list[Any], workflow: Mapping[str, Any]) -> None:
        from retort_pipelines.runs.names import is_live

        self.workflow = workflow
        for one, line in zip(stages, lines(stages), strict=True):
            if self.states.get(one.stage) != one.state:
                self.states[one.stage] = one.state
                print(line, file=sys.stderr)
        if is_live(run) and (not stages or any("PENDING" in one.states for one in stages)):
            for reason, line in self._waiting(run.run_id, workflow):
                if reason not in self.told:
                    self.told.add(reason)
                    print(f"  waiting: {line}", file=sys.stderr)

    def _waiting(self, run_id: str, workflow: Mapping[str, Any]) -> list[tuple[str, str]]:
        from retort_pipelines.runs.waiting import waiting

        try:
            return [(one.alike, f"{one.pod}: {one.reason}") for one in waiting(run_id, self.namespace, workflow)]
        except ClusterError as error:  # following a run needs Kubeflow alone
            return [(UNASKED, f"{UNASKED}: {error}")]
