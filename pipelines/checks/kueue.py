"""Kueue: whether a profile's queues could ever admit a pod of every stage, and why a pod waits in one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from retort_pipelines.checks.base import Cluster
from retort_pipelines.checks.capacity import distinct
from retort_pipelines.profiles import Needs, Profile
from retort_pipelines.profiles.quantities import quantity

from retort.run.doctor import Check

GROUP, VERSION = "kueue.x-k8s.io", "v1beta2"
"""What k8s/overlays/gpu-kueue is written in; Kueue serves it from 0.15 on."""

RIGHTS = (("list", f"localqueues.{GROUP}", ""), ("list", f"workloads.{GROUP}", ""))
"""What Retort's commands ask of Kueue, where a profile names a queue."""


def named(profile: Profile) -> set[str]:
    """Local queues that the profile names."""
    needs = [profile.tables, profile.models, *profile.stages.values()]
    return {one.queue for one in needs if one.queue}


def queue(cluster: Cluster) -> Check:
    """Kueue's queues that the profile names are there, take pods, and have quota for one pod of every stage."""
    wanted = named(cluster.profile)
    if not wanted:
        return Check("kueue queue", "OK", "none asked for")
    listed = cluster.get(lambda: _listed(cluster.api, cluster.profile.namespace, "localqueues"))
    if listed is None:
        return Check("kueue queue", "missing", "no Kueue 0.15 or newer", "Install it, or use profile generic")
    have = {one["metadata"]["name"]: one for one in listed}
    if lacking := sorted(wanted - set(have)):
        found = f"no {', '.join(lacking)}; there are: {', '.join(sorted(have)) or 'none'}"
        return Check("kueue queue", "missing", found, "kubectl apply -k k8s/overlays/gpu-kueue")
    if closed := [words for name in sorted(wanted) if (words := _closed(have[name]))]:
        return Check("kueue queue", "missing", "; ".join(closed), "kubectl describe clusterqueue says more")
    if too_big := list(_too_big(cluster, have)):
        remedy = "Ask for less in the profile, or have the queue's quota raised"
        return Check("kueue queue", "missing", "; ".join(too_big), remedy)
    return Check("kueue queue", "OK", ", ".join(_words(have[name]) for name in sorted(wanted)))


def _listed(api: Any, namespace: str, plural: str) -> list[dict[str, Any]]:
    from kubernetes.client import CustomObjectsApi

    found = CustomObjectsApi(api).list_namespaced_custom_object(GROUP, VERSION, namespace, plural)
    return list(found["items"])


def _condition(item: dict[str, Any], kind: str) -> dict[str, Any]:
    conditions = item.get("status", {}).get("conditions", [])
    return next((one for one in conditions if one["type"] == kind), {})


def _closed(local: dict[str, Any]) -> str:
    active = _condition(local, "Active")
    if active.get("status") != "False":
        return ""
    return f"{local['metadata']['name']} admits nothing: {active.get('reason')}: {active.get('message')}"


def _words(local: dict[str, Any]) -> str:
    status = local.get("status", {})
    admitted, pending = status.get("admittedWorkloads", 0), status.get("pendingWorkloads", 0)
    return f"{local['metadata']['name']} ({admitted} admitted, {pending} waiting)"


def _too_big(cluster: Cluster, have: dict[str, dict[str, Any]]) -> Iterator[str]:
    """A line for every stage of which not even one pod fits into its queue."""
    for stage, needs in distinct(cluster.profile):
        if needs.queue:
            name = have[needs.queue]["spec"]["clusterQueue"]
            if words := _beyond(_cluster_queue(cluster, name), needs):
                yield f"cluster queue {name} {words}, a pod of {stage} asks for {_asked(needs)}"


def _cluster_queue(cluster: Cluster, name: str) -> dict[str, Any]:
    """What a cluster queue says; nothing where it may not be read."""
    from kubernetes.client import ApiException, CustomObjectsApi

    try:
        custom = CustomObjectsApi(cluster.api)
        return dict(custom.get_cluster_custom_object(GROUP, VERSION, "clusterqueues", name)["spec"])
    except ApiException as error:
        if error.status != 403:
            raise
        return {}


def _wants(needs: Needs) -> dict[str, str]:
    return {"cpu": needs.cpu, "memory": needs.memory} | ({needs.gpu: str(needs.gpus)} if needs.gpus else {})


def _asked(needs: Needs) -> str:
    return ", ".join(f"{value} of {resource}" for resource, value in _wants(needs).items())


def _beyond(spec: dict[str, Any], needs: Needs) -> str:
    """Why a pod could never be admitted, however empty the queue is; each group gives all it covers from one flavor."""
    groups, wants = spec.get("resourceGroups", []), _wants(needs)
    covered = {resource for group in groups for resource in group["coveredResources"]}
    if groups and (unknown := sorted(set(wants) - covered)):
        return f"has no {', '.join(unknown)}"
    if spec.get("cohortName"):  # what it lacks it may borrow
        return ""
    for group in groups:
        asked = {
            resource: quantity(value) for resource, value in wants.items() if resource in group["coveredResources"]
        }
        quotas = [{one["name"]: one["nominalQuota"] for one in flavor["resources"]} for flavor in group["flavors"]]
        if not any(all(quantity(quota[resource]) >= value for resource, value in asked.items()) for quota in quotas):
            return "has no flavor that is big enough"
    return ""


def reasons(api: Any, namespace: str) -> dict[str, str]:
    """Why pods are not admitted, in Kueue's words, by the pod's name; nothing where that may not be read."""
    from kubernetes.client import ApiException

    try:
        workloads = _listed(api, namespace, "workloads")
    except ApiException as error:
        if error.status not in (403, 404):
            raise
        return {}
    told: dict[str, str] = {}
    for one in workloads:
        message = _condition(one, "QuotaReserved").get("message", "")
        told |= {owner["name"]: message for owner in one["metadata"].get("ownerReferences", [])}
    return told
