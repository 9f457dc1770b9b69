"""What pods of stages run in: the profile's image, or this checkout mounted into a Python on the test cluster."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from typing import Any

import pytest
from retort_pipelines.checks.capacity import full_name
from retort_pipelines.profiles import load_profile

from tests.cluster.support import CHECKOUT, PROFILE, Kubectl

STOCK = "localhost/python:3.11"
"""Image of the test cluster's nodes: Debian 12 with Python, nothing of Retort."""

_PLACE, _CLAIM = "/checkout", "retort-checkout"
_SITE = f"{_PLACE}/.venv/lib/python3.11/site-packages"
_ENVIRONMENT = {
    "PATH": "/told:/usr/local/bin:/usr/bin:/bin",
    "PYTHONPATH": f"{_PLACE}:{_PLACE}/.types:{_SITE}",  # an editable install's finder is no .pth of PYTHONPATH
    "PYTHONDONTWRITEBYTECODE": "1",
    "HOME": "/tmp",  # noqa: S108
    "TMPDIR": "/tmp",  # noqa: S108
    "USER": "retort",
    "LOGNAME": "retort",
}


@dataclass(frozen=True)
class Image:
    """What a pod is given to have Retort."""

    name: str | None
    """None: the one that the pipeline names."""
    env: dict[str, str]
    volumes: list[dict[str, Any]]
    mounts: list[dict[str, Any]]


def find(kubectl: Kubectl) -> Image:
    """The profile's image if nodes have it or can pull it, else a stand-in on the test cluster, else a skip."""
    wanted = load_profile(PROFILE).images.train
    nodes = kubectl.json("get", "nodes")["items"]
    has = [
        {full_name(name) for image in node["status"].get("images", []) for name in image.get("names") or []}
        for node in nodes
    ]
    if "." in wanted.partition("/")[0] or all(full_name(wanted) in names for names in has):
        return Image(None, {}, [], [])
    if not os.environ.get("RETORT_CLUSTER_TOOL"):
        pytest.skip(f"{wanted} is not on every node: make images, then push or load it")
    if sys.version_info[:2] != (3, 11) or not all(STOCK in names for names in has):
        pytest.skip(f"{wanted} is not on every node, and {STOCK} cannot stand in for it with this environment's Python")
    return _mounted(kubectl)


def _mounted(kubectl: Kubectl) -> Image:
    """The stock Python with this checkout and its environment mounted: the image's contents, without its making.

    A claim, because a namespace of Pod Security Standard "restricted" admits no hostPath in a pod.
    """
    common = {"accessModes": ["ReadOnlyMany"], "storageClassName": ""}
    claimed = {"namespace": kubectl.namespace, "name": _CLAIM}
    size = {"storage": "20Gi"}
    volume = {"capacity": size, "hostPath": {"path": str(CHECKOUT)}, "claimRef": claimed}
    claim = {"volumeName": _volume(kubectl), "resources": {"requests": size}}
    for kind, name, spec in (("PersistentVolume", _volume(kubectl), volume), ("PersistentVolumeClaim", _CLAIM, claim)):
        made = {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, "spec": common | spec}
        kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", given=json.dumps(made))
    return Image(
        STOCK,
        _ENVIRONMENT,
        [{"name": "checkout", "persistentVolumeClaim": {"claimName": _CLAIM, "readOnly": True}}],
        [{"name": "checkout", "mountPath": _PLACE, "readOnly": True}],
    )


def _volume(kubectl: Kubectl) -> str:
    """Volumes belong to no namespace, and are claimed once."""
    return f"{_CLAIM}-{kubectl.namespace}"


def remove(kubectl: Kubectl) -> None:
    """Remove what `find` made."""
    kubectl("delete", "persistentvolumeclaim", _CLAIM, "--ignore-not-found", "--wait=false")
    kubectl("delete", "persistentvolume", _volume(kubectl), "--ignore-not-found", "--wait=false")
