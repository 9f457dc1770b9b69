"""Pods as the pipeline makes them, without Kubeflow: read from the compiled pipeline, started one by one."""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path
from typing import Any

import yaml
from retort_pipelines.graph.compile import compile as write
from retort_pipelines.profiles import load_profile

from retort.config import RetortConfig
from tests.cluster.image import Image
from tests.cluster.support import PROFILE, Kubectl

PROGRAM = """
import json, sys
from retort.pod.task import run
told = json.load(open('/told/told.json'))
print('fragment', run(told['settings'], told['upstream'], told['item']))
"""


COMMAND = '#!/bin/sh\nexec python3 -m retort "$@"\n'
"""The command `retort` where the image has none."""


ONE_THREAD = {"OMP_NUM_THREADS": "1"}
"""Threads of pods that share two cores wait for each other longer than they work."""


def _named(values: dict[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in values.items()]


class Pods:
    """Makes and follows pods of one configuration."""

    def __init__(self, kubectl: Kubectl, image: Image, config: RetortConfig, folder: Path, profile: str = PROFILE):
        self._profile = load_profile(profile)
        file = folder / "pipeline.yaml"
        write(config, self._profile, file)
        spec, platform = yaml.safe_load_all(file.read_text())
        self.kubectl, self._image = kubectl, image
        self._mark = uuid.uuid4().hex[:6]
        self._executors = spec["deploymentSpec"]["executors"]
        self._placed = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]

    def start(self, name: str, group: str, settings: str, upstream: list[str], item: str = "", **env: str) -> None:
        """Start the pod of one task."""
        told = {"settings": settings, "upstream": upstream, "item": item}
        self._make(self.full(name), told, self.manifest(self.full(name), group, env))

    def hold(self, name: str, group: str, labels: dict[str, str]) -> None:
        """Start a pod as that of `group`, with more labels, that does nothing until it is removed."""
        pod = self.manifest(self.full(name), group, {})
        pod["metadata"]["labels"] |= labels
        pod["spec"]["containers"][0]["args"] = ["sleep", "600"]
        pod["spec"]["terminationGracePeriodSeconds"] = 1
        self._make(self.full(name), {}, pod)

    def _make(self, name: str, told: dict[str, Any], pod: dict[str, Any]) -> None:
        kept = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name},
            "data": {"told.json": json.dumps(told), "retort": COMMAND},
        }
        self.kubectl("apply", "--server-side", "-f", "-", given=json.dumps(kept))
        self.kubectl("apply", "--server-side", "-f", "-", given=json.dumps(pod))

    def environment(self, group: str) -> dict[str, str]:
        """Plain environment variables of the pods of `group`, as the pipeline says."""
        label = f"exec-{group.replace('_', '-')}"
        return {one["name"]: one["value"] for one in self._executors[label]["container"]["env"]}

    def manifest(self, name: str, group: str, env: dict[str, str]) -> dict[str, Any]:
        """The pod of a task: what the compiled pipeline says of it, and a read-only root."""
        label = f"exec-{group.replace('_', '-')}"
        container, placed = self._executors[label]["container"], self._placed[label]
        resources, identity = container["resources"], placed["securityContext"]
        limits = {"memory": resources["resourceMemoryLimit"]}
        if gpu := resources.get("accelerator"):
            limits[gpu["resourceType"]] = gpu["resourceCount"]
        secrets = [(one["secretNameParameter"]["runtimeValue"]["constant"], one) for one in placed["secretAsEnv"]]
        secret_env = [
            {
                "name": pair["envVar"],
                "valueFrom": {"secretKeyRef": {"name": secret, "key": pair["secretKey"], "optional": True}},
            }
            for secret, one in secrets
            for pair in one["keyToEnv"]
        ]
        volumes: list[dict[str, Any]] = [
            {"name": "tmp", "emptyDir": {}},
            {"name": "told", "configMap": {"name": name, "defaultMode": 0o555}},
            *self._image.volumes,
        ]
        mounts = [{"name": "tmp", "mountPath": "/tmp"}, {"name": "told", "mountPath": "/told"}, *self._image.mounts]  # noqa: S108
        for one in placed.get("emptyDirMounts", []):
            volumes.append(
                {"name": one["volumeName"], "emptyDir": {"medium": one["medium"], "sizeLimit": one["sizeLimit"]}}
            )
            mounts.append({"name": one["volumeName"], "mountPath": one["mountPath"]})
        main = {
            "name": "main",
            "image": self._image.name or container["image"],
            "args": ["python3", "-c", PROGRAM],
            "env": [
                *secret_env,
                *_named(ONE_THREAD | self.environment(group) | self._image.env | env),
                # As Kubeflow tells its pods who they are.
                {"name": "KFP_POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "KFP_POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
            ],
            "resources": {
                "requests": {"cpu": resources["resourceCpuRequest"], "memory": resources["resourceMemoryRequest"]},
                "limits": limits,
            },
            "volumeMounts": mounts,
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
                "runAsUser": int(identity["runAsUser"]),
                "runAsGroup": int(identity["runAsGroup"]),
                "runAsNonRoot": identity["runAsNonRoot"],
                "seccompProfile": {"type": "RuntimeDefault"},
            },
        }
        spec = {
            "restartPolicy": "Never",
            "serviceAccountName": self._profile.service_account,
            "containers": [main],
            "volumes": volumes,
            "nodeSelector": placed.get("nodeSelector", {}).get("labels", {}),
            "tolerations": placed.get("tolerations", []),
        }
        labels = placed.get("podMetadata", {}).get("labels", {})
        return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec}

    def get(self, name: str) -> Any:
        """It, as the API server has it."""
        return self.kubectl.json("get", "pod", self.full(name))

    def phase(self, name: str) -> str:
        """Its phase."""
        return str(self.get(name)["status"].get("phase", "Pending"))

    def finish(self, name: str, *, limit_s: float = 900) -> str:
        """Wait until it ends well; the name of its fragment."""
        deadline = time.monotonic() + limit_s
        while (phase := self.phase(name)) not in ("Succeeded", "Failed") and time.monotonic() < deadline:
            time.sleep(2)
        log = self.log(name)
        assert phase == "Succeeded", f"{name}: {phase}\n{log}\n{self.kubectl('describe', 'pod', self.full(name))}"
        return log.rpartition("fragment ")[2].strip()

    def log(self, name: str) -> str:
        """What it said."""
        return self.kubectl("logs", self.full(name), check=False)

    def full(self, name: str) -> str:
        """Its name in the cluster, where other test runs have pods as well."""
        return f"{name}-{self._mark}"

    def node(self, name: str) -> dict[str, str]:
        """Labels of the node that it is on."""
        where = self.get(name)["spec"]["nodeName"]
        return dict(self.kubectl.json("get", "node", where)["metadata"]["labels"])

    def remove(self, *names: str) -> None:
        """Remove pods and what they were told."""
        for name in names:
            self.kubectl(
                "delete", "pod,configmap", self.full(name), "--ignore-not-found", "--grace-period=0", "--force"
            )
