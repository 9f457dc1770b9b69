"""Where tasks run: what a kind of stage needs, and the run's parameters that say where that is found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kfp import dsl, kubernetes

STORE_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_REGION")
"""Keys of the secret with which DVC reaches the object store."""

MODEL_KEYS = ("HF_TOKEN", "OPENAI_API_KEY")
"""Keys of the secret with which models are downloaded or asked."""


@dataclass(frozen=True)
class Placement:
    """Parameters of the run that place its tasks; each is a pipeline parameter, so known only when the run starts."""

    accelerator_type: Any
    """Resource name of the GPUs: nvidia.com/gpu."""
    accelerator_limit: Any
    """GPUs a task of a stage that needs them."""
    tolerations: Any
    """Tolerations of those tasks, as a list."""
    node_selector: Any
    """Labels of the nodes for those tasks."""
    store_secret: Any
    """Secret with `STORE_KEYS`."""
    model_secret: Any
    """Secret with `MODEL_KEYS`."""
    retries: int
    """Attempts after the first."""

    def cpu(self, task: dsl.PipelineTask) -> dsl.PipelineTask:
        """Place a task that handles tables."""
        task.set_cpu_request("1").set_memory_request("4Gi").set_memory_limit("16Gi")
        return self._common(task)

    def gpu(self, task: dsl.PipelineTask) -> dsl.PipelineTask:
        """Place a task that runs or trains a model."""
        task.set_cpu_request("4").set_memory_request("16Gi").set_memory_limit("64Gi")
        task.set_accelerator_type(self.accelerator_type).set_accelerator_limit(self.accelerator_limit)
        # kfp 2.17 forgets to pass these two on into a loop; without this its tasks ask for an input that is not there.
        task.register_pipeline_channels([self.accelerator_type, self.accelerator_limit])
        kubernetes.add_toleration_json(task, self.tolerations)
        kubernetes.add_node_selector_json(task, self.node_selector)
        # Data loaders and NCCL share memory there; the container default of 64 MB is too small for either.
        kubernetes.empty_dir_mount(task, volume_name="shm", mount_path="/dev/shm", medium="Memory")  # noqa: S108
        return self._common(task)

    def _common(self, task: dsl.PipelineTask) -> dsl.PipelineTask:
        for secret, keys in ((self.store_secret, STORE_KEYS), (self.model_secret, MODEL_KEYS)):
            kubernetes.use_secret_as_env(task, secret, {key: key for key in keys}, optional=True)
        if self.retries:
            task.set_retry(self.retries, backoff_duration="30s", backoff_factor=2.0, backoff_max_duration="10m")
        return task.set_caching_options(enable_caching=True)
