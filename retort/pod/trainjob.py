"""A stage on several nodes, as the pod sees it that waits: a TrainJob of Kubeflow's Trainer, made, followed, removed.

The TrainJob's nodes run `retort.pod.node`. They share nothing but the object store: each fetches what the stage reads
by hash, the first one keeps the resume state and puts what was made on record, as a pod on its own does.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from retort.errors import RETRY, ClusterError, StageError
from retort.io.objects import Objects
from retort.modeling import preemption
from retort.pod.kept_settings import remote_of
from retort.pod.lock_fragments import key_of
from retort.pod.settings import OPERATION
from retort.run.graph import Task

GROUP, VERSION, PLURAL = "trainer.kubeflow.org", "v1alpha1", "trainjobs"

POLL_S = 1.0
"""Seconds between two looks at a TrainJob."""

PATIENCE_S = 180.0
"""How long Kubernetes may not answer before the task fails."""

REMOVAL_S = 600.0
"""How long a removed TrainJob and its pods may take to go: longer than Kubernetes leaves pods on a lost node."""

_JOB_LABEL, _INDEX_LABEL = "jobset.sigs.k8s.io/jobset-name", "batch.kubernetes.io/job-completion-index"
_OUR_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")

_log = logging.getLogger(__name__)
T = TypeVar("T")


def run(task: Task, given: Sequence[str], job: Mapping[str, Any]) -> str:
    """Run a task as a TrainJob and return the name of its fragment. SIGTERM removes the TrainJob.

    Args:
        task: The task.
        given: The stage's settings, then the names of the fragments that it reads from.
        job: The TrainJob that the profile asks for (`retort_pipelines.graph.trainjob`), without name
            and arguments.

    Raises:
        StageError: a node failed; with its exit code.
        ClusterError: Kubernetes refuses the TrainJob.
        InterruptionError: this pod was told to go.
    """
    jobs = TrainJobs.here()
    results = Objects.of(remote_of(given[0]), "trainjobs")
    # A new attempt of the same task in the same run has the same name, so that it replaces one that was left behind.
    name = f"{task.stage.name.replace('_', '-')}-{key_of([os.environ.get('RETORT_RUN', ''), *given])}"
    told = {"item": task.item, "given": list(given), "job": name}
    preemption.listen()
    try:
        jobs.remove(name)
        results.remove(name)
        jobs.create(completed(job, name, told))
        jobs.follow(name, task.address)
        fragment = results.read(name)
        if fragment is None:
            raise StageError(task.address, RETRY)
        results.remove(name)
        return fragment.decode()
    finally:
        jobs.remove(name, wait=False)


def completed(job: Mapping[str, Any], name: str, told: Mapping[str, Any]) -> dict[str, Any]:
    """The TrainJob with its name and its nodes' arguments, owned by this pod: it goes when the pod is deleted."""
    whole: dict[str, Any] = json.loads(json.dumps(job))
    whole["metadata"]["name"] = name
    pod, uid = os.environ.get("KFP_POD_NAME"), os.environ.get("KFP_POD_UID")
    if pod and uid:
        whole["metadata"]["ownerReferences"] = [{"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": uid}]
    # What decides how a task is computed, and the run that it belongs to, reach this pod by its environment alone.
    passed = [{"name": name, "value": os.environ[name]} for name in (OPERATION, "RETORT_RUN") if name in os.environ]
    whole["spec"]["trainer"].setdefault("env", []).extend(passed)
    whole["spec"]["trainer"]["args"] = ["python3", "-m", "retort.pod.node", json.dumps(told)]
    return whole


@dataclass
class TrainJobs:
    """The TrainJobs of one namespace."""

    custom: Any
    """kubernetes.client.CustomObjectsApi."""
    core: Any
    """kubernetes.client.CoreV1Api."""
    namespace: str
    _ended: dict[str, int] = field(default_factory=dict)
    """Exit codes of the nodes' pods, by index; pods of a failed TrainJob may be gone before it is."""

    @classmethod
    def here(cls) -> TrainJobs:
        """Those of this pod's namespace, with its service account."""
        from kubernetes import client, config

        config.load_incluster_config()
        return cls(client.CustomObjectsApi(), client.CoreV1Api(), _OUR_NAMESPACE.read_text().strip())

    def create(self, manifest: Mapping[str, Any]) -> None:
        """Create a TrainJob.

        Raises:
            ClusterError: it is refused.
        """
        from kubernetes.client import ApiException

        try:
            _patiently(self.custom.create_namespaced_custom_object, GROUP, VERSION, self.namespace, PLURAL, manifest)
        except ApiException as error:
            raise ClusterError(
                f"TrainJob {manifest['metadata']['name']}: refused ({error.status} {_said(error)}). A stage on several "
                "nodes needs Kubeflow Trainer 2.3 and k8s/components/trainer in this namespace."
            ) from error

    def remove(self, name: str, *, wait: bool = True) -> None:
        """Remove a TrainJob if it is there; `wait` until it and its pods are gone, so that no two write one state.

        Raises:
            ClusterError: to be waited for, and it is refused, or takes longer than `REMOVAL_S`.
        """
        from kubernetes.client import ApiException

        try:  # in the foreground, JobSet would make the nodes anew while they go
            self.custom.delete_namespaced_custom_object(
                GROUP, VERSION, self.namespace, PLURAL, name, propagation_policy="Background"
            )
        except ApiException as error:
            if wait and 400 <= error.status < 500 and error.status != 404:
                raise ClusterError(
                    f"TrainJob {name}: removing it is refused ({error.status} {_said(error)})."
                ) from error
        deadline = time.monotonic() + REMOVAL_S
        while wait and (self._get(name) is not None or self._pods(name)):
            if time.monotonic() > deadline:
                raise ClusterError(
                    f"TrainJob {name} of an earlier attempt is still there {REMOVAL_S:.0f} s after its removal: look "
                    f"at its finalizers and its pods' nodes, `kubectl -n {self.namespace} describe trainjob,pod`."
                )
            time.sleep(POLL_S)

    def follow(self, name: str, address: str) -> None:
        """Pass on what the first node says until the TrainJob has completed.

        Raises:
            StageError: it has failed, or was removed.
        """
        stop = threading.Event()
        reader = threading.Thread(target=self._pass_on, args=(name, stop), name="node-0", daemon=True)
        reader.start()
        try:
            while (outcome := self._outcome(name)) is None:
                time.sleep(POLL_S)
        finally:
            stop.set()
        reader.join(timeout=5)
        if outcome != "Complete":
            _log.error("TrainJob %s: %s", name, outcome)
            raise StageError(address, self._exit_code())

    def _outcome(self, name: str) -> str | None:
        """`Complete`, why it failed, or None while it runs."""
        job = self._get(name)  # before its pods: what it failed of can be seen then
        for pod in self._pods(name):
            states = [one.state.terminated for one in pod.status.container_statuses or [] if one.state.terminated]
            node = pod.metadata.labels[_INDEX_LABEL]
            if states and states[0].exit_code and node not in self._ended:
                self._ended[node] = states[0].exit_code
                self._show_end(pod, node)
        if job is None:
            return "it was removed"
        for one in job.get("status", {}).get("conditions", []):
            if one["type"] in ("Complete", "Failed") and one["status"] == "True":
                return "Complete" if one["type"] == "Complete" else str(one.get("message") or one.get("reason"))
        return None

    def _show_end(self, pod: Any, node: str) -> None:
        """Show why a node failed; what the first one says is passed on anyway."""
        from kubernetes.client import ApiException

        if node != "0":
            with contextlib.suppress(ApiException):
                said = self.core.read_namespaced_pod_log(pod.metadata.name, self.namespace, tail_lines=25)
                _log.error("node %s failed with exit code %d:\n%s", node, self._ended[node], said)

    def _exit_code(self) -> int:
        """The first node's, as it knows best what went wrong; RETRY where a node was lost."""
        return self._ended.get("0") or next(iter(self._ended.values()), RETRY)

    def _pass_on(self, name: str, stop: threading.Event) -> None:
        from kubernetes.client import ApiException

        while not stop.wait(POLL_S):
            pod = next((one for one in self._pods(name) if one.metadata.labels[_INDEX_LABEL] == "0"), None)
            if pod is None or pod.status.phase == "Pending":
                continue
            with contextlib.suppress(ApiException):
                said = self.core.read_namespaced_pod_log(
                    pod.metadata.name, self.namespace, follow=True, _preload_content=False
                )
                for chunk in said.stream():
                    sys.stderr.write(chunk.decode(errors="replace"))
            return

    def _get(self, name: str) -> Any:
        from kubernetes.client import ApiException

        try:
            return _patiently(self.custom.get_namespaced_custom_object, GROUP, VERSION, self.namespace, PLURAL, name)
        except ApiException as error:
            if error.status == 404:
                return None
            raise

    def _pods(self, name: str) -> list[Any]:
        selector = f"{_JOB_LABEL}={name}"
        return list(_patiently(self.core.list_namespaced_pod, self.namespace, label_selector=selector).items)


def _patiently(call: Callable[..., T], *arguments: Any, **named: Any) -> T:
    """What the call returns, when the API server and Trainer's webhook answer: either may be restarted in between."""
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return call(*arguments, **named)
        except (ApiException, HTTPError) as error:
            if (isinstance(error, ApiException) and 0 < error.status < 500) or time.monotonic() > deadline:
                raise
            _log.warning("Kubernetes does not answer, asked again: %s", _said(error))
            time.sleep(5 * POLL_S)


def _said(error: Any) -> str:
    """The API server's message."""
    try:
        return str(json.loads(error.body)["message"])
    except (AttributeError, TypeError, ValueError, KeyError):
        return str(getattr(error, "reason", error))
