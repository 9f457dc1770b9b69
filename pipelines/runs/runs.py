"""Runs that are there: finding them by name, what their stages do, their logs, ending them, fetching what they made."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from retort_pipelines.checks import kueue
from retort_pipelines.graph.distil import CONFIGURATION
from retort_pipelines.graph.placement import RUN_LABEL
from retort_pipelines.runs.client import Kubeflow, explained, kubernetes_api
from retort_pipelines.runs.status import StageStatus, stage_statuses

from retort.config import RetortConfig
from retort.errors import ClusterError, ConfigError, StorageError
from retort.io.files import write_json
from retort.pod.run_records import Failure, Records
from retort.run import dvc_adapter, workspace

ENDED = ("SUCCEEDED", "FAILED", "SKIPPED", "CANCELED")
"""States in which a run stays."""

_NODE = "workflows.argoproj.io/node-name"


def by_name(kubeflow: Kubeflow, name: str) -> Any:
    """The newest run of that name, or None."""
    wanted = json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "string_value": name}]})
    with explained(kubeflow.host):
        found = kubeflow.client.list_runs(
            page_size=2, sort_by="created_at desc", filter=wanted, namespace=kubeflow.namespace
        )
        runs = found.runs or []
        # A listed run has no arguments and no tasks.
        return kubeflow.client.get_run(runs[0].run_id) if runs else None


def find(kubeflow: Kubeflow, run: str) -> Any:
    """A run by name or id.

    Raises:
        ConfigError: there is none; names those that there are.
    """
    import kfp_server_api

    if (found := by_name(kubeflow, run)) is not None:
        return found
    try:
        return kubeflow.client.get_run(run)
    except kfp_server_api.ApiException as error:
        if error.status not in (400, 404):
            with explained(kubeflow.host):
                raise
    with explained(kubeflow.host):
        listed = kubeflow.client.list_runs(page_size=5, sort_by="created_at desc", namespace=kubeflow.namespace)
    names = ", ".join(one.display_name for one in listed.runs or []) or "none"
    raise ConfigError(f"no run {run!r} at {kubeflow.host}; the newest are: {names}.")


def statuses(kubeflow: Kubeflow, run_id: str) -> list[StageStatus]:
    """What the run's stages do."""
    return stage_statuses(kubeflow.workflow(run_id).get("status", {}).get("nodes") or {}, datetime.now(UTC))


def failures(run: Any) -> list[Failure]:
    """What the run's failed tasks said; empty where the store cannot be reached."""
    try:
        _, remote = config_of(run.runtime_config.parameters)
        return Records.of(remote, run.run_id).failures()
    except (ConfigError, StorageError):
        return []


def wait(kubeflow: Kubeflow, run_id: str, show: Callable[[Any, list[StageStatus]], None], *, every_s: float = 5) -> Any:
    """Follow a run to its end, calling `show` whenever a stage's state changed; return the run."""
    seen: list[tuple[str, str]] = []
    while True:
        with explained(kubeflow.host):
            run = kubeflow.client.get_run(run_id)
        now = statuses(kubeflow, run_id)
        if (states := [(one.stage, one.state) for one in now]) != seen:
            show(run, now)
            seen = states
        if run.state in ENDED:
            return run
        time.sleep(every_s)


def cancel(kubeflow: Kubeflow, run_id: str) -> None:
    """End a run; its pods are told to go, and nothing half-written stays."""
    with explained(kubeflow.host):
        kubeflow.client.terminate_run(run_id)


def waiting(run_id: str, namespace: str) -> list[str]:
    """Why pods of a run do not start, in Kubernetes' own words, or Kueue's for a pod that waits in its queue."""
    with kubernetes_api() as api:
        pods = _pods(api, run_id, namespace)
        gated = any(pod.spec.scheduling_gates for pod in pods)
        queued = kueue.reasons(api, namespace) if gated else {}
        return [words for pod in pods if (words := _trouble(pod, queued))]


def _trouble(pod: Any, queued: dict[str, str]) -> str:
    for container in pod.status.container_statuses or []:
        if (state := container.state.waiting) and state.reason not in (None, "ContainerCreating", "PodInitializing"):
            return f"{pod.metadata.name}: {state.reason}: {state.message or ''}".rstrip(": ")
    for condition in pod.status.conditions or []:
        if condition.type == "PodScheduled" and condition.status == "False":
            return f"{pod.metadata.name}: {condition.reason}: {queued.get(pod.metadata.name) or condition.message}"
    return ""


def logs(run_id: str, stage: str, namespace: str) -> Iterator[tuple[str, str]]:
    """Log of every pod of `stage` in a run that is still there, oldest first: its name and text.

    Raises:
        ClusterError: there is no such pod.
    """
    from kubernetes.client import CoreV1Api

    pattern = re.compile(rf"\.{stage.replace('_', '-')}(?:\(\d+\))?\.executor")
    with kubernetes_api() as api:
        pods = [pod for pod in _pods(api, run_id, namespace) if pattern.search(pod.metadata.annotations.get(_NODE, ""))]
        if not pods:
            raise ClusterError(
                f"no pod of stage {stage} is left in {namespace}: it has not begun, was remembered by Kubeflow, or its "
                "pods were cleaned up. `retort status RUN` says which; a failed stage's last words are kept there."
            )
        for pod in pods:
            text = CoreV1Api(api).read_namespaced_pod_log(pod.metadata.name, namespace, container="main")
            yield pod.metadata.name, text


def _pods(api: Any, run_id: str, namespace: str) -> list[Any]:
    from kubernetes.client import CoreV1Api

    pods = CoreV1Api(api).list_namespaced_pod(namespace, label_selector=f"{RUN_LABEL}={run_id}").items
    return sorted(pods, key=lambda pod: pod.metadata.creation_timestamp)


def config_of(given: dict[str, str]) -> tuple[RetortConfig, str]:
    """The configuration and object store of a run, from its arguments.

    Raises:
        ConfigError: it is no run of Retort.
    """
    if CONFIGURATION not in given:
        raise ConfigError("this run is none of this version of Retort: it has no configuration among its arguments.")
    told = json.loads(given[CONFIGURATION])
    return RetortConfig.model_validate(told["config"]), told["remote"]


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
    root = home / "runs" / run.display_name
    workspace.create(root, config, home=home, remote=remote, cache=home / "runs/.cache")
    dvc_adapter.write_lock(root, lock)
    dvc_adapter.fetch(root)
    for timing in records.timings():
        write_json(root / ".retort/timings" / f"{timing['task']}.json", timing)
    if differs := dvc_adapter.status(root):
        raise StorageError(
            f"{root}: everything is fetched, but differs from what the run recorded: {', '.join(sorted(differs))}. "
            "Did the code or a source file change since? Check out the commit that was submitted."
        )
    return root
