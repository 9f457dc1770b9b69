"""Runs that are there: finding them by name, what their stages do, ending them, fetching what they made."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from retort_pipelines.graph.offered import offered
from retort_pipelines.runs import names
from retort_pipelines.runs.client import Kubeflow
from retort_pipelines.runs.status import BOOKS, StageStatus, stage_statuses

from retort.config import RetortConfig
from retort.config.base import unknown
from retort.config.typed import folded, typed
from retort.errors import ConfigError, RetortError, StorageError
from retort.io.files import write_json
from retort.pod.parameters import SOURCE
from retort.pod.run_records import Failure, Records
from retort.pod.settings import CONFIGURATION
from retort.run import dvc_adapter, workspace
from retort.run.known_stages import known_stages
from retort.run.record import Record, write_record
from retort.run.tasks import graph

EVERY_S = 5.0
"""Seconds between two looks at a run that is followed."""

_log = logging.getLogger(__name__)


def find(kubeflow: Kubeflow, run: str) -> Any:
    """A run by name or id; of several with one name the one under way, else the newest that ended well.

    Raises:
        ConfigError: there is none; names those that there are.
    """
    return every(kubeflow, run)[0]


def every(kubeflow: Kubeflow, run: str) -> list[Any]:
    """The runs of a name, or the one with an id, as `find` prefers them.

    Raises:
        ConfigError: there is none; names those that there are.
    """
    import kfp_server_api

    if found := names.named(kubeflow, run):
        ids = [one.run_id for one in names.preferred(found)]
        return [kubeflow.ask(partial(_run, run_id)) for run_id in ids]

    def by_id(client: Any) -> Any:
        try:
            return client.get_run(run)
        except kfp_server_api.ApiException as error:
            if error.status not in (400, 404):
                raise
            return None

    if (one := kubeflow.ask(by_id)) is not None:
        return [one]
    listed = kubeflow.ask(
        lambda client: client.list_runs(page_size=5, sort_by="created_at desc", namespace=kubeflow.namespace)
    )
    newest = ", ".join(one.display_name for one in listed.runs or []) or "none"
    raise ConfigError(f"no run {run!r} at {kubeflow.host}; the newest are: {newest}.")


def _run(run_id: str, client: Any) -> Any:
    return client.get_run(run_id)


def check_stage(stage: str) -> None:
    """Refuse a stage that there is not.

    Raises:
        ConfigError: names those that there are.
    """
    known = [*known_stages(), *BOOKS]
    if stage.partition("-")[0] not in known:
        raise ConfigError(unknown(f"stage {stage!r}", stage, known) + ".")


def statuses(workflow: Mapping[str, Any]) -> list[StageStatus]:
    """What a run's stages do, from its workflow."""
    return stage_statuses(workflow.get("status", {}).get("nodes") or {}, datetime.now(UTC))


def ended_pods(workflow: Mapping[str, Any]) -> list[str]:
    """Why pods ended that were ended from outside or never ran their stage: memory, eviction, a driver that failed.

    A stage that failed by itself has said more in its record than Argo, which knows its exit code alone.
    """
    nodes = (workflow.get("status", {}).get("nodes") or {}).values()
    found = [
        f"{node['name'].partition('.')[2] or node['name']}: {node['message']}"
        for node in nodes
        if node["type"] == "Pod" and node["phase"] in ("Failed", "Error") and node.get("message")
    ]
    return [line for line in found if not re.search(r": (main: )?Error \(exit code \d+\)$", line) or "-driver" in line]


def failures(run: Any) -> list[Failure]:
    """What the run's failed tasks said; empty where the store cannot be reached, which is said."""
    try:
        _, remote = config_of(run.runtime_config.parameters)
        return Records.of(remote, run.run_id).failures()
    except ConfigError:
        return []
    except RetortError as error:
        _log.warning("What failed stages said cannot be read: %s", error)
        return []


def wait(
    kubeflow: Kubeflow,
    run_id: str,
    show: Callable[[Any, list[StageStatus], Mapping[str, Any]], None],
) -> Any:
    """Follow a run to its end, calling `show` with the run, its stages and its workflow each time; return the run.

    A run that was cancelled because an equal one was started at the same moment is left for that one.
    """
    while True:
        run = kubeflow.ask(partial(_run, run_id))
        workflow = kubeflow.workflow(run_id)
        show(run, statuses(workflow), workflow)
        if run.state not in names.ENDED:
            time.sleep(EVERY_S)
            continue
        run.state = names.state_of(kubeflow, run)
        if run.state == "CANCELED" and (other := names.successor(kubeflow, run)) is not None:
            _log.warning("%s: run %s was ended; following the equal run %s.", run.display_name, run_id, other.run_id)
            run_id = str(other.run_id)
            continue
        return run


def config_of(given: Mapping[str, Any]) -> tuple[RetortConfig, str]:
    """The configuration and object store of a run, from its arguments: with what it was given one by one.

    Raises:
        ConfigError: it is no run of Retort, or was given what its configuration does not take.
    """
    if CONFIGURATION not in given:
        raise ConfigError("this run is none of this version of Retort: it has no configuration among its arguments.")
    told = json.loads(given[CONFIGURATION])
    config = RetortConfig.model_validate(told["config"])
    changes = [f"{one.key}={given[one.name]}" for one in typed(config) if one.name in given]
    return folded(config, changes, SOURCE), told["remote"]


def _elsewhere(run: Any, config: RetortConfig, home: Path) -> set[str]:
    """Source files whose content a run took from an address that it was given."""
    given = run.runtime_config.parameters
    files = offered(config, graph(config, home), home).files
    return {path for name, path in files.items() if str(given.get(name) or "").strip()}


def pull(run: Any, *, home: Path = Path()) -> Path:
    """Fetch everything that a run made into a workspace of its own; return it.

    Raises:
        ConfigError: the run has not ended well.
        StorageError: something is missing, or does not equal what was recorded.
    """
    if run.state != "SUCCEEDED":
        raise ConfigError(f"run {run.display_name} is {run.state}, so there is nothing whole to fetch.")
    config, remote = config_of(run.runtime_config.parameters)
    records = Records.of(remote, run.run_id)
    lock = records.lock()
    root = home / "runs" / str(run.display_name)
    taken = [one for one in lock.get("prompts", {}).get("deps", []) if one["path"] in _elsewhere(run, config, home)]
    for one in taken:
        (root / one["path"]).unlink(missing_ok=True)
    workspace.create(root, config, home=home, remote=remote, cache=home / "runs/.cache")
    if taken:  # the file here is not what the run read
        for one in taken:
            (root / one["path"]).unlink()
        dvc_adapter.write_inputs(root, taken)
        dvc_adapter.fetch_sources(root)
    dvc_adapter.write_lock(root, lock)
    dvc_adapter.fetch(root)
    for timing in records.timings():
        write_json(root / ".retort/timings" / f"{timing['task']}.json", timing)
    submission, begun, ended = records.submission(), run.created_at, run.finished_at
    if begun and ended:
        times = (moment.isoformat(timespec="seconds") for moment in (begun, ended))
        write_record(
            root, Record(next(times), next(times), "succeeded", submission.get("who") or "", submission.get("commit"))
        )
    if differs := dvc_adapter.status(root):
        raise StorageError(
            f"{root}: everything is fetched, but differs from what the run recorded: {', '.join(sorted(differs))}. "
            "Did the code or a source file change since? Check out the commit that was submitted."
        )
    return root
