"""Why pods of a run do not start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from retort_pipelines.checks import kueue
from retort_pipelines.graph.placement import RUN_LABEL
from retort_pipelines.runs.client import kubernetes_api

NODE = "workflows.argoproj.io/node-name"
"""Annotation in which Argo tells a pod its node."""

_UNDER_WAY = (None, "", "ContainerCreating", "PodInitializing")


@dataclass(frozen=True)
class Waiting:
    """A pod that does not start."""

    pod: str
    reason: str
    """In Kubernetes' words, Kueue's for a pod in its queue, or Argo's for a pod that could not be made."""

    @property
    def alike(self) -> str:
        """The reason without the pod's name: the same for all that wait for the same."""
        return self.reason.replace(self.pod, "POD")


def waiting(run_id: str, namespace: str, workflow: Mapping[str, Any]) -> list[Waiting]:
    """The pods of a run that do not start, and those that could not even be made, as when a quota is used up.

    Args:
        run_id: The run.
        namespace: Of its pods.
        workflow: Its workflow, as Kubeflow keeps it.
    """
    with kubernetes_api() as api:
        pods = pods_of(api, run_id, namespace)
        gated = any(pod.spec.scheduling_gates for pod in pods)
        queued = kueue.reasons(api, namespace) if gated else {}
    found = [Waiting(pod.metadata.name, reason) for pod in pods if (reason := _trouble(pod, queued))]
    made = {(pod.metadata.annotations or {}).get(NODE) for pod in pods}
    return found + [one for name, one in _unmade(workflow) if name not in made]


def summed(found: list[Waiting]) -> list[str]:
    """A line a reason: the first pod that waits for it, and how many more do."""
    groups: dict[str, list[Waiting]] = {}
    for one in found:
        groups.setdefault(one.alike, []).append(one)
    return [
        f"{group[0].pod}{f' and {len(group) - 1} more' if len(group) > 1 else ''}: {group[0].reason}"
        for group in groups.values()
    ]


def pods_of(api: Any, run_id: str, namespace: str) -> list[Any]:
    """The pods of a run that are still there, oldest first."""
    from kubernetes.client import CoreV1Api

    pods = CoreV1Api(api).list_namespaced_pod(namespace, label_selector=f"{RUN_LABEL}={run_id}").items
    return sorted(pods, key=lambda pod: (pod.metadata.creation_timestamp, pod.metadata.name))


def _trouble(pod: Any, queued: Mapping[str, str]) -> str:
    status = pod.status
    for container in [*(status.init_container_statuses or []), *(status.container_statuses or [])]:
        if (state := container.state.waiting) and state.reason not in _UNDER_WAY:
            return f"{state.reason}: {state.message or ''}".rstrip(": ")
    for condition in status.conditions or []:
        if condition.type == "PodScheduled" and condition.status == "False":
            return f"{condition.reason}: {queued.get(pod.metadata.name) or condition.message}"
    return ""


def _unmade(workflow: Mapping[str, Any]) -> list[tuple[str, Waiting]]:
    """Nodes of a workflow whose pod could not be made, by name."""
    nodes = (workflow.get("status", {}).get("nodes") or {}).values()
    return [
        (node["name"], Waiting(node["name"].partition(".")[2] or node["name"], node["message"]))
        for node in nodes
        if node["type"] == "Pod" and node["phase"] == "Pending" and node.get("message")
    ]
