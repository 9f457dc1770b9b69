"""The TrainJob of a stage that a profile puts on several nodes: what each node asks for; retort.pod.trainjob starts it.

Kubeflow's Trainer makes the nodes from the TrainingRuntime of `k8s/components/trainer` and this TrainJob, and tells
torch's launcher on each where the others are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from retort_pipelines.profiles import Needs, Profile
from retort_pipelines.profiles.store import CA_FOLDER

from retort.pod.trainjob import GROUP, VERSION

if TYPE_CHECKING:
    pass

RUNTIME = "retort"
"""TrainingRuntime of `k8s/components/trainer`."""


def manifest(
    profile: Profile, needs: Needs, *, image: str, secrets: dict[str, tuple[str, ...]], scratch: str
) -> dict[str, Any]:
    """A TrainJob without name and arguments, which the waiting pod adds.

    Args:
        profile: Where the run goes.
        needs: What one node asks for, and how many there are.
        image: Image of the nodes.
        secrets: Keys, by secret, that become environment variables.
        scratch: Where a volume for the workspace is mounted.
    """
    limits = {"memory": needs.memory} | ({needs.gpu: str(needs.gpus)} if needs.gpus else {})
    trainer = {
        "image": image,
        "numNodes": needs.nodes,
        "numProcPerNode": max(1, needs.gpus),
        "resourcesPerNode": {"requests": {"cpu": needs.cpu, "memory": needs.memory}, "limits": limits},
        "env": _environment(profile, needs, secrets, scratch),
    }
    spec: dict[str, Any] = {
        "runtimeRef": {"apiGroup": GROUP, "kind": "TrainingRuntime", "name": RUNTIME},
        "trainer": trainer,
        "runtimePatches": [_patch(profile, needs, scratch)],
    }
    if needs.timeout_hours:
        spec["activeDeadlineSeconds"] = round(needs.timeout_hours * 3600)
    queued = {"kueue.x-k8s.io/queue-name": needs.queue, "kueue.x-k8s.io/priority-class": needs.priority}
    labels = {"app.kubernetes.io/part-of": "retort"} | {key: value for key, value in queued.items() if value}
    return {"apiVersion": f"{GROUP}/{VERSION}", "kind": "TrainJob", "metadata": {"labels": labels}, "spec": spec}


def _environment(
    profile: Profile, needs: Needs, secrets: dict[str, tuple[str, ...]], scratch: str
) -> list[dict[str, Any]]:
    plain = {"RETORT_STATE_INTERVAL": f"{profile.state_interval_s:g}"} | ({"TMPDIR": scratch} if needs.scratch else {})
    plain |= profile.store.in_pods() if profile.store else {}
    return [
        *({"name": key, "value": value} for key, value in plain.items()),
        *(
            {"name": key, "valueFrom": {"secretKeyRef": {"name": secret, "key": key, "optional": True}}}
            for secret, keys in secrets.items()
            for key in keys
        ),
    ]


def _patch(profile: Profile, needs: Needs, scratch: str) -> dict[str, Any]:
    """What the nodes' pods have beside the runtime's."""
    volumes: list[dict[str, Any]] = []
    mounts: list[dict[str, Any]] = []
    if needs.shm:
        volumes.append({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": needs.shm}})
        mounts.append({"name": "shm", "mountPath": "/dev/shm"})  # noqa: S108
    if needs.scratch:
        claim = {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": needs.scratch}},
            "storageClassName": needs.scratch_class,
        }
        own = {"ephemeral": {"volumeClaimTemplate": {"spec": claim}}}
        volumes.append(
            {"name": "scratch"} | (own if needs.scratch_class else {"emptyDir": {"sizeLimit": needs.scratch}})
        )
        mounts.append({"name": "scratch", "mountPath": scratch})
    if profile.store is not None and profile.store.ca_config_map:
        volumes.append({"name": "store-ca", "configMap": {"name": profile.store.ca_config_map}})
        mounts.append({"name": "store-ca", "mountPath": CA_FOLDER})
    pod: dict[str, Any] = {
        "nodeSelector": needs.node_selector,
        "tolerations": [one.model_dump(exclude_none=True) for one in needs.tolerations],
        "imagePullSecrets": [{"name": name} for name in profile.images.pull_secrets],
        "volumes": volumes,
        "containers": [{"name": "node", "volumeMounts": mounts}] if mounts else [],
    }
    template = {"spec": {key: value for key, value in pod.items() if value}}
    job = {"name": "node", "template": {"spec": {"template": template}}}
    return {
        "manager": "retort.kubeflow.org/profile",
        "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": [job]}}},
    }
