"""Placing tasks as a profile says: resources, nodes, volumes, secrets, retries, caching."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from kfp import dsl, kubernetes
from retort_pipelines.graph.trainjob import manifest
from retort_pipelines.profiles import Needs, Profile
from retort_pipelines.profiles.profile import MODEL_KEYS, STORE_KEYS, TRACKER_KEYS
from retort_pipelines.profiles.quantities import quantity
from retort_pipelines.profiles.store import CA_FOLDER

from retort.pod.settings import OPERATION
from retort.run.graph import Task
from retort.run.tasks import TRACKER

USER = 65532
"""Numeric user of the images; a namespace of Pod Security Standard "restricted" admits no root."""

SCRATCH = "/scratch"
"""Where a volume for the pod's workspace is mounted."""

RUN_LABEL = "pipeline/runid"
"""Label in which Kubeflow tells a pod its run."""

NEVER_CACHED = ("parameters", "record", "refresh", "summary")
"""Tasks about the run rather than its contents."""

_TRAINING_LABEL = "retort/training"
_QUEUE_LABEL, _PRIORITY_LABEL = "kueue.x-k8s.io/queue-name", "kueue.x-k8s.io/priority-class"


@dataclass(frozen=True)
class Placement:
    """Places the tasks of one pipeline."""

    profile: Profile
    operation: str = "{}"
    """Values of the configuration that decide only how tasks are computed (`retort.pod.settings.operation`)."""
    tracked: bool = False
    """Whether tasks tell a tracker, and so may know how to reach it."""
    forced: frozenset[str] = frozenset()
    """Groups of tasks that run again though nothing about them changed."""

    def __call__(self, task: dsl.PipelineTask, does: Task | None = None) -> dsl.PipelineTask:
        """Place a pod: of the task `does` of the graph, or of one that keeps the books of the run."""
        stage = task.component_spec.name.replace("-", "_") if does is None else does.stage.name
        image, trains = ("train", False) if does is None else (does.image, does.stage.trains)
        needs = self.profile.tables if does is None else self.profile.needs(does.stage)
        if trains and needs.nodes > 1:
            task.set_env_variable("RETORT_TRAINJOB", json.dumps(self._train_job(image, needs)))
            needs = self.profile.tables  # of the pod that waits for the nodes
        if does is not None and (self.tracked or does.operation != (TRACKER,)):
            task.set_env_variable(OPERATION, self.operation)
        if does is not None and self.tracked:
            secret = self.profile.secrets.tracker
            kubernetes.use_secret_as_env(task, secret, {key: key for key in TRACKER_KEYS}, optional=True)
        task.set_container_image(self._image(image))
        self._resources(task, needs)
        self._node(task, needs, trains=trains)
        self._identity(task)
        # None are said too, or the limit would be that of Argo's defaults. Argo counts the last figure from the first
        # attempt's start, and ends a retried pod when it is over.
        task.set_retry(self.profile.retries, backoff_duration="30s", backoff_factor=2.0, backoff_max_duration="30d")
        task.set_env_variable("RETORT_STATE_INTERVAL", f"{self.profile.state_interval_s:g}")
        # The tasks of a loop are forced together: one description is compiled for all of them.
        forced = does is not None and does.group in self.forced
        if forced:
            task.set_env_variable("RETORT_FORCE", "1")
        return task.set_caching_options(enable_caching=not forced and stage not in NEVER_CACHED)

    def _train_job(self, image: str, needs: Needs) -> dict[str, Any]:
        names = self.profile.secrets
        secrets: dict[str, tuple[str, ...]] = {names.models: MODEL_KEYS}
        if self.tracked:
            secrets[names.tracker] = TRACKER_KEYS
        if self.profile.gives_keys:
            secrets = {names.store: STORE_KEYS, **secrets}
        return manifest(self.profile, needs, image=self._image(image), secrets=secrets, scratch=SCRATCH)

    def _image(self, role: str) -> str:
        images = self.profile.images
        return images.generate if role != "train" and images.generate else images.train

    def _resources(self, task: dsl.PipelineTask, needs: Needs) -> None:
        # Without a limit a library counts all cores of the node, and starts as many threads.
        task.set_env_variable("OMP_NUM_THREADS", str(max(1, math.ceil(quantity(needs.cpu)))))
        task.set_cpu_request(needs.cpu).set_memory_request(needs.memory).set_memory_limit(needs.memory)
        if needs.gpus:
            task.set_accelerator_type(needs.gpu).set_accelerator_limit(needs.gpus)
        if needs.gpus > 1:  # stages that train start a process for each; the others use one
            task.set_env_variable("RETORT_PROCESSES", str(needs.gpus))
        if needs.shm:
            kubernetes.empty_dir_mount(task, "shm", "/dev/shm", medium="Memory", size_limit=needs.shm)  # noqa: S108
        if needs.scratch and needs.scratch_class:
            kubernetes.add_ephemeral_volume(
                task, "scratch", SCRATCH, ["ReadWriteOnce"], needs.scratch, storage_class_name=needs.scratch_class
            )
        elif needs.scratch:
            # Freed when the stage ends. A volume claim stays as long as the pod, which is until an hour after the run.
            kubernetes.empty_dir_mount(task, "scratch", SCRATCH, size_limit=needs.scratch)
        if needs.scratch:
            task.set_env_variable("TMPDIR", SCRATCH)
        if needs.timeout_hours:
            kubernetes.set_timeout(task, round(needs.timeout_hours * 3600))

    def _node(self, task: dsl.PipelineTask, needs: Needs, *, trains: bool) -> None:
        for key, value in needs.node_selector.items():
            kubernetes.add_node_selector(task, key, value)
        for toleration in needs.tolerations:
            kubernetes.add_toleration(task, toleration.key, toleration.operator, toleration.value, toleration.effect)
        training = "true" if trains else None
        labels: dict[str, str | None] = {
            _QUEUE_LABEL: needs.queue,
            _PRIORITY_LABEL: needs.priority,
            _TRAINING_LABEL: training,
        }
        for label, said in labels.items():
            if said:
                kubernetes.add_pod_label(task, label, said)

    def _identity(self, task: dsl.PipelineTask) -> None:
        """Who the pod is, and what it may know."""
        kubernetes.set_security_context(task, run_as_user=USER, run_as_group=USER, run_as_non_root=True)
        secrets = self.profile.secrets
        if self.profile.gives_keys:
            kubernetes.use_secret_as_env(task, secrets.store, {key: key for key in STORE_KEYS}, optional=True)
        if (store := self.profile.store) is not None:
            for name, value in store.in_pods().items():
                task.set_env_variable(name, value)
            if store.ca_config_map:
                kubernetes.use_config_map_as_volume(task, store.ca_config_map, CA_FOLDER)
        kubernetes.use_secret_as_env(task, secrets.models, {key: key for key in MODEL_KEYS}, optional=True)
        kubernetes.use_field_path_as_env(task, "RETORT_RUN", f"metadata.labels['{RUN_LABEL}']")
        if pull := self.profile.images.pull_secrets:
            kubernetes.set_image_pull_secrets(task, pull)
