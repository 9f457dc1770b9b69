"""One name, one run: Kubeflow keeps names of runs no more unique than its users do, so it is done here.

Runs of a name are looked up before one is created and again after it: of two that were created at once, at least one
sees the other then. Both apply the same order, and whoever sees a later one ends it, so that one is left whatever
each of them saw.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from retort_pipelines.runs.client import Kubeflow
from retort_pipelines.runs.refusals import InvalidRequestError

from retort.errors import ConfigError
from retort.pod.kept_settings import digest_of
from retort.pod.settings import settings_in

ENDED = ("SUCCEEDED", "FAILED", "SKIPPED", "CANCELED")
"""States in which a run stays."""

_log = logging.getLogger(__name__)


def is_live(run: Any) -> bool:
    """Whether a run is under way, and nobody has told it to end."""
    return run.state not in (*ENDED, "CANCELING")


def named(kubeflow: Kubeflow, name: str) -> list[Any]:
    """All runs of that name, newest first; a listed run has no arguments and no tasks."""
    wanted = json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "string_value": name}]})
    listed = kubeflow.pages("list_runs", "runs", sort_by="created_at desc", filter=wanted, namespace=kubeflow.namespace)
    return [run for run in listed if run.display_name == name]  # the database compares without case


def state_of(kubeflow: Kubeflow, run: Any) -> str:
    """State of a run; CANCELED where somebody ended it, which Kubeflow shows as FAILED.

    Kubeflow ends a run by giving its workflow no time at all.
    """
    if run.state == "FAILED" and kubeflow.workflow(run.run_id).get("spec", {}).get("activeDeadlineSeconds") == 0:
        return "CANCELED"
    return str(run.state)


def equal(kubeflow: Kubeflow, name: str, given: Mapping[str, Any]) -> Any:
    """The run of that name with these arguments that is under way or has ended well; None where a new one may start.

    Raises:
        ConfigError: a run of that name with other arguments is under way or has ended well.
    """
    standing = [run for run in named(kubeflow, name) if is_live(run) or run.state == "SUCCEEDED"]
    same = [run for run in (_whole(kubeflow, one) for one in standing) if _content(_arguments(run)) == _content(given)]
    if same:
        return min(same, key=lambda run: (run.state == "SUCCEEDED", *_order(run)))  # rather one that is under way
    if standing:
        raise ConfigError(
            f"--name {name}: is taken by a run with other parameters, data or code: "
            f"{kubeflow.link(standing[0].run_id)}. Give another name."
        )
    return None


def check_free(kubeflow: Kubeflow, name: str) -> None:
    """Refuse a name whose run is under way or has ended well.

    Raises:
        ConfigError: there is one; says which and its state.
    """
    for run in named(kubeflow, name):
        if is_live(run) or run.state == "SUCCEEDED":
            raise ConfigError(
                f"--name {name}: is taken by run {run.run_id} ({run.state}): {kubeflow.link(run.run_id)}. "
                "Give another name."
            )


def settled(kubeflow: Kubeflow, run_id: str, name: str, given: Mapping[str, Any]) -> str:
    """The run that is left of those of a name, after this one was created: usually this one.

    Raises:
        ConfigError: another user took the name at the same moment for a run with other arguments; this run is ended.
    """
    mine = kubeflow.ask(lambda client: client.get_run(run_id))
    others = [_whole(kubeflow, run) for run in named(kubeflow, name) if run.run_id != run_id and is_live(run)]
    if different := [run for run in others if _arguments(run) != dict(given)]:
        end(kubeflow, run_id)
        raise ConfigError(
            f"--name {name}: was taken at the same moment by a run with other parameters, data or code: "
            f"{kubeflow.link(different[0].run_id)}. This one was ended. Give another name."
        )
    first = min([mine, *others], key=_order)
    for run in [mine, *others]:
        if run.run_id != first.run_id:
            _log.warning("%s: was started twice at the same moment; run %s is ended.", name, run.run_id)
            end(kubeflow, run.run_id)
    return str(first.run_id)


def created_since(kubeflow: Kubeflow, name: str, given: Mapping[str, Any], known: Collection[str]) -> str | None:
    """A run of that name with these arguments that is none of the `known`; None where there is none."""
    fresh = (_whole(kubeflow, run) for run in named(kubeflow, name) if run.run_id not in known)
    return next((str(run.run_id) for run in fresh if _arguments(run) == dict(given)), None)


def successor(kubeflow: Kubeflow, run: Any) -> Any:
    """The equal run that goes on instead of a cancelled one that was started at the same moment; None without one."""
    twins = (_whole(kubeflow, one) for one in named(kubeflow, run.display_name) if one.run_id != run.run_id)
    mine = [one for one in twins if _arguments(one) == _arguments(run) and (is_live(one) or one.state == "SUCCEEDED")]
    return min(mine, key=_order, default=None)


def end(kubeflow: Kubeflow, run_id: str) -> bool:
    """Tell a run to end; False where it has ended, or was told to, before."""
    try:
        kubeflow.ask(lambda client: client.terminate_run(run_id))
    except InvalidRequestError:
        if is_live(kubeflow.ask(lambda client: client.get_run(run_id))):
            raise
        return False
    return True


def preferred(runs: list[Any]) -> Iterator[Any]:
    """Runs of one name in the order in which a user means them: under way, ended well, others; the newest first."""
    yield from sorted(runs, key=lambda run: 0 if is_live(run) else 1 if run.state == "SUCCEEDED" else 2)


def _whole(kubeflow: Kubeflow, run: Any) -> Any:
    return kubeflow.ask(lambda client: client.get_run(run.run_id))


def _arguments(run: Any) -> dict[str, Any]:
    return dict((run.runtime_config and run.runtime_config.parameters) or {})


def _content(given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments less what a collection of the store changes of them, which decides no result."""
    # A number comes back as JSON has it: 0 for 0.0.
    plain = {name: float(value) if isinstance(value, (int, float)) else str(value) for name, value in given.items()}
    return plain | {name: digest_of(value) for name, value in settings_in(given).items()}


def _order(run: Any) -> tuple[Any, str]:
    return run.created_at, run.run_id
