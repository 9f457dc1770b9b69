"""Whether a cluster has room for a profile: GPUs on a node that takes the pod, quota, images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from retort_pipelines.checks.base import Cluster
from retort_pipelines.profiles import Needs, Profile
from retort_pipelines.profiles.quantities import quantity

from retort.run.doctor import Check
from retort.run.known_stages import known_stages


def gpus(cluster: Cluster) -> Check:
    """Some node can take the biggest pod of every stage."""
    nodes = cluster.core.list_node().items
    problems = []
    for stage, needs in distinct(cluster.profile):
        if not any(_takes(node, needs) for node in nodes):
            wants = f"{needs.gpus} x {needs.gpu}, " if needs.gpus else ""
            problems.append(f"no node takes a pod of {stage} ({wants}cpu {needs.cpu}, memory {needs.memory})")
    shown = "; ".join(_words(node, cluster.profile.models.gpu) for node in nodes)
    if problems:
        remedy = f"There are: {shown}. Ask for less in the profile, or correct its node_selector and tolerations"
        return Check("nodes", "missing", "; ".join(problems), remedy)
    return Check("nodes", "OK", shown)


def distinct(profile: Profile) -> Iterator[tuple[str, Needs]]:
    """A stage for each different need."""
    seen: list[Needs] = []
    for stage in sorted(known_stages().values(), key=lambda stage: stage.uses):
        if (needs := profile.needs(stage)) not in seen:
            seen.append(needs)
            yield stage.name, needs


def _takes(node: Any, needs: Needs) -> bool:
    labels, have = node.metadata.labels or {}, node.status.allocatable
    if any(labels.get(key) != value for key, value in needs.node_selector.items()) or node.spec.unschedulable:
        return False
    taints = [taint for taint in node.spec.taints or [] if taint.effect != "PreferNoSchedule"]
    if any(not _tolerated(taint, needs) for taint in taints):
        return False
    wants = {"cpu": needs.cpu, "memory": needs.memory} | ({needs.gpu: str(needs.gpus)} if needs.gpus else {})
    return all(quantity(have.get(name, "0")) >= quantity(value) for name, value in wants.items())


def _tolerated(taint: Any, needs: Needs) -> bool:
    return any(
        one.key == taint.key
        and one.effect in (None, taint.effect)
        and (one.operator == "Exists" or one.value == taint.value)
        for one in needs.tolerations
    )


def _words(node: Any, gpu: str) -> str:
    have = node.status.allocatable
    count = have.get(gpu, "0")
    product = (node.metadata.labels or {}).get("nvidia.com/gpu.product", "")
    taints = ", ".join(f"{taint.key}:{taint.effect}" for taint in node.spec.taints or [])
    memory = quantity(have["memory"]) / 2**30
    words = f"{node.metadata.name} ({have['cpu']} cores, {memory:.0f}Gi"
    words += f", {count} x {gpu} {product}".rstrip() if count != "0" else ", no GPU"
    return words + (f", tainted {taints})" if taints else ")")


def quota(cluster: Cluster) -> Check:
    """The namespace's quotas leave room for one pod of every stage."""
    name = cluster.profile.namespace
    quotas = cluster.core.list_namespaced_resource_quota(name).items
    problems = []
    for one in quotas:
        hard, used = one.status.hard or {}, one.status.used or {}
        for stage, needs in distinct(cluster.profile):
            wants = {"requests.cpu": needs.cpu, "requests.memory": needs.memory, "limits.memory": needs.memory}
            wants |= {f"requests.{needs.gpu}": str(needs.gpus)} if needs.gpus else {}
            for resource, value in wants.items():
                if resource in hard and quantity(hard[resource]) < quantity(value):
                    used_words = f"{used.get(resource, '0')} of it in use"
                    problems.append(
                        f"{one.metadata.name} allows {hard[resource]} of {resource} ({used_words}), a pod of {stage} "
                        f"asks for {value}"
                    )
    if problems:
        return Check("quota", "missing", "; ".join(problems), "Ask for less in the profile, or have the quota raised")
    return Check("quota", "OK", ", ".join(one.metadata.name for one in quotas) or "none")


def images(cluster: Cluster) -> Check:
    """The images are on a node already, or have a registry to be pulled from."""
    wanted = {image for image in (cluster.profile.images.train, cluster.profile.images.generate) if image}
    listed = [
        name
        for node in cluster.core.list_node().items
        for image in node.status.images or []
        for name in image.names or []  # an image that lost its tag to a newer one has no name
    ]
    present = {full_name(name) for name in listed}
    lacking = sorted(image for image in wanted if full_name(image) not in present)
    if not lacking:
        return Check("images", "OK", f"{', '.join(sorted(wanted))}: on the nodes")
    local = [image for image in lacking if not _registry(image)]
    if local:
        found = f"{', '.join(local)}: on no node, and the name has no registry to pull it from"
        return Check("images", "missing", found, "make images, then push or load them, and name them in the profile")
    return Check("images", "optional", f"{', '.join(lacking)}: on no node yet", "It is pulled when the run starts")


def _registry(image: str) -> str:
    """The registry that an image's name begins with; empty where it has none."""
    first, slash, _ = image.partition("/")
    return first if slash and ("." in first or ":" in first) and first != "localhost" else ""


def full_name(image: str) -> str:
    """An image's name as a node lists it: with registry and tag."""
    name = image if _registry(image) or image.startswith("localhost/") else f"docker.io/{image}"
    if name.startswith("docker.io/") and name.count("/") == 1:
        name = name.replace("docker.io/", "docker.io/library/")
    return name if ":" in name.rpartition("/")[2] or "@" in name else f"{name}:latest"
