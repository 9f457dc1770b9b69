"""What the pods of a stage say, in pieces as they come: no log is held in memory."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Collection, Iterator
from typing import Any

from retort_pipelines.runs import names
from retort_pipelines.runs.client import Kubeflow, kubernetes_api, kubernetes_explained
from retort_pipelines.runs.status import group_of
from retort_pipelines.runs.waiting import NODE, pods_of

from retort.errors import ClusterError, ConfigError

EVERY_S = 2.0
"""Seconds between two looks for further pods."""

_EXECUTOR = re.compile(r"\.([a-z0-9-]+)(?:\(\d+\))?\.executor")
_PIECE = 1 << 16
_SILENT = (400, 404)
"""Statuses of the log of a pod that has not begun to speak, or is gone."""

_log = logging.getLogger(__name__)


def logs(
    run_id: str,
    stage: str,
    namespace: str,
    *,
    item: str | None = None,
    tail: int | None = None,
    follow: bool = False,
    skip: Collection[str] = (),
) -> Iterator[tuple[str, Iterator[bytes]]]:
    """The log of every pod of a stage that is still there, oldest first: its name, and what it said in pieces.

    Args:
        run_id: The run.
        stage: Name of the stage.
        namespace: Of the pods.
        item: Only the task with this matrix value: `0`, `ppo-heldout`.
        tail: Only so many of the last lines of each.
        follow: Go on until each pod ends.
        skip: Names of pods to pass over.

    Raises:
        ClusterError: there is no such pod.
        ConfigError: there are pods of the stage, but none of this item; names those that there are.
    """
    with kubernetes_api() as api:
        names_ = [pod.metadata.name for pod in _chosen(api, run_id, stage, namespace, item)]
        for name in names_:
            if name not in skip:
                yield name, _pieces(api, name, namespace, tail=tail, follow=follow)


def _pieces(api: Any, pod: str, namespace: str, *, tail: int | None, follow: bool) -> Iterator[bytes]:
    """What a pod says; where the connection breaks while it is followed, from there on."""
    import urllib3
    from kubernetes.client import ApiException, CoreV1Api

    wanted: dict[str, int] = {} if tail is None else {"tail_lines": tail}
    while True:
        heard = time.monotonic()
        try:
            with kubernetes_explained(passing=_SILENT):
                answer = CoreV1Api(api).read_namespaced_pod_log(
                    pod, namespace, container="main", follow=follow, _preload_content=False, **wanted
                )
        except ApiException as error:
            _log.warning("%s: has no log (%s).", pod, error.reason)
            return
        try:
            for piece in answer.stream(_PIECE):
                heard = time.monotonic()
                yield piece
            return
        except urllib3.exceptions.HTTPError as error:
            _log.warning("%s: the log broke off (%s)%s", pod, error, "; going on." if follow else ".")
            if not follow:
                return
            wanted = {"since_seconds": int(time.monotonic() - heard) + 1}
        finally:
            answer.release_conn()


def follow(
    kubeflow: Kubeflow,
    run_id: str,
    stage: str,
    namespace: str,
    *,
    item: str | None = None,
    tail: int | None = None,
) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Logs of a stage's pods while the run goes on, also of those that start later: each to its end, one by one."""
    seen: set[str] = set()
    while True:
        last = kubeflow.ask(lambda client: client.get_run(run_id)).state in names.ENDED
        try:
            for name, pieces in logs(run_id, stage, namespace, item=item, tail=tail, follow=True, skip=seen):
                seen.add(name)
                yield name, pieces
        except (ClusterError, ConfigError):
            if last and not seen:
                raise
        if last:
            return
        time.sleep(EVERY_S)


def _chosen(api: Any, run_id: str, stage: str, namespace: str, item: str | None) -> list[Any]:
    pods = [pod for pod in pods_of(api, run_id, namespace) if is_of(stage, _group(pod))]
    if not pods:
        raise ClusterError(
            f"no pod of stage {stage} is left in {namespace}: it has not begun, was remembered by Kubeflow, or its "
            "pods were cleaned up. `retort status RUN` says which; a failed stage's last words are kept there."
        )
    if item is None:
        return pods
    mine = [pod for pod in pods if f"{_group(pod)}-{_item(pod)}".endswith(f"-{item}") and _item(pod)]
    if not mine:
        have = ", ".join(sorted({_item(pod) for pod in pods} - {""})) or "none, as the stage has one task"
        raise ConfigError(f"--item {item}: no pod of stage {stage} has it; those that are there: {have}.")
    return mine


def is_of(stage: str, address: str) -> bool:
    """Whether a task or group of tasks is of `stage`, or of the group that it names: `evaluate`, `evaluate-ppo`."""
    return address == stage or address.startswith(f"{stage}-")


def _group(pod: Any) -> str:
    """The group of tasks that a pod is of; empty for a driver."""
    found = _EXECUTOR.search((pod.metadata.annotations or {}).get(NODE, ""))
    return group_of(found[1]) if found else ""


def _item(pod: Any) -> str:
    """The matrix value that Kubeflow gave a pod; empty for a stage with one task."""
    main = next((one for one in pod.spec.containers if one.name == "main"), None)
    for text in [*((main and main.command) or []), *((main and main.args) or [])]:
        if text.startswith("{"):
            try:
                return str(json.loads(text).get("inputs", {}).get("parameterValues", {}).get("item", ""))
            except ValueError:
                continue
    return ""
