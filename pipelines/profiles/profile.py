"""Profiles: where a run's stages go on one cluster and what they may use there.

A profile is given when a run is submitted. Its values become part of the pods, not parameters of the pipeline: a
parameter would enter Kubeflow's cache key, and moving a run to other nodes would compute everything again.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator
from retort_pipelines.profiles.quantities import Bytes, Cores
from retort_pipelines.profiles.store import RoleCredentials, Store

from retort.config.base import Strict
from retort.config.load import read_yaml
from retort.errors import ConfigError
from retort.run.graph import Stage
from retort.run.known_stages import known_stages

FOLDER = Path(__file__).parent

_NAME = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
_RESOURCE = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"
_LABEL = r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_IMAGE = re.compile(
    rf"(?:[A-Za-z0-9][-A-Za-z0-9.]*(?::\d+)?/)?{_PART}(?:/{_PART})*(?::\w[\w.-]{{0,127}})?(?:@sha256:[0-9a-f]{{64}})?"
)
"""Registry, path, tag and digest, as the distribution project writes their grammar."""

Name = Annotated[str, Field(pattern=_NAME, max_length=253)]
"""Name of an object in Kubernetes."""


def _image(name: str) -> str:
    if not _IMAGE.fullmatch(name):
        raise ValueError(
            f"{name!r} is no name of an image. Write [REGISTRY/]PATH[:TAG], the path in lower case, such as "
            "registry.example.com/retort/train:1.0"
        )
    return name


Image = Annotated[str, AfterValidator(_image)]
"""Name of an image."""

STORE_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_REGION")
"""Keys of the secret with which pods reach the object store."""

MODEL_KEYS = ("HF_TOKEN", "OPENAI_API_KEY")
"""Keys of the secret with which models are downloaded or asked."""

TRACKER_KEYS = (
    *("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"),
    *("WANDB_API_KEY", "WANDB_BASE_URL"),
)
"""Keys of the secret with which a tracker is reached."""


class Toleration(Strict):
    """A taint that a stage's pods put up with."""

    key: str
    operator: Literal["Equal", "Exists"] = "Exists"
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None

    @model_validator(mode="after")
    def _a_value_is_given_to_be_compared(self) -> Toleration:
        if (self.operator == "Equal") != (self.value is not None):
            raise ValueError("give value with operator Equal, and none with Exists")
        return self


class Needs(Strict):
    """What the pods of a stage ask for."""

    cpu: Cores = "1"
    """Cores asked for, and threads of a process, rounded up; there is no limit, so that idle cores are used."""
    memory: Bytes = "4Gi"
    """Memory asked for, and its limit."""
    gpus: int = Field(0, ge=0, le=16)
    """GPUs of one pod."""
    nodes: int = Field(1, ge=1, le=64)
    """Nodes that train a stage together, each as asked for here; stages that do not train use one."""
    gpu: str = Field("nvidia.com/gpu", pattern=_RESOURCE)
    """Resource name of the GPUs: `nvidia.com/gpu`, `amd.com/gpu`, `nvidia.com/mig-3g.40gb`."""
    node_selector: dict[str, Annotated[str, Field(pattern=_LABEL, max_length=63)]] = {}
    """Labels of the nodes."""
    tolerations: list[Toleration] = []
    """Taints that the pods put up with."""
    shm: Bytes | None = None
    """Size of /dev/shm, which data loaders and NCCL share; the container default of 64 MB is too small for either."""
    scratch: Bytes | None = None
    """Most that the pod's workspace may take of the node's disk; as much as there is when left out."""
    scratch_class: Name | None = None
    """Storage class of a volume of that size for the workspace instead. It is kept until Kubeflow removes the pod."""
    timeout_hours: float | None = Field(None, gt=0)
    """When a pod is ended; a retry goes on from its last checkpoint."""
    queue: Name | None = None
    """Kueue's local queue."""
    priority: Name | None = None
    """Kueue's workload priority class. Kubeflow Pipelines 2.17 cannot set a pod's own priorityClassName."""


class Images(Strict):
    """Images, by role. A moving tag keeps Kubeflow's cache across builds; a pod refuses code other than the run's."""

    train: Image = "retort/train:dev"
    """For every stage."""
    generate: Image | None = None
    """For tasks that a model or judge with the engine `vllm` (or `auto`) answers: the same with vLLM."""
    pull_secrets: list[Name] = []
    """Secrets with which they are pulled."""


class Secrets(Strict):
    """Names of secrets in the namespace; their keys become environment variables."""

    store: str = Field("retort-store", pattern=_NAME)
    """Object store: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL, AWS_REGION, AWS_SESSION_TOKEN."""
    models: str = Field("retort-models", pattern=_NAME)
    """Optional: HF_TOKEN, OPENAI_API_KEY."""
    tracker: str = Field("retort-tracker", pattern=_NAME)
    """Optional, for runs whose configuration names a tracker: MLFLOW_TRACKING_URI, MLFLOW_TRACKING_USERNAME,
    MLFLOW_TRACKING_PASSWORD, MLFLOW_TRACKING_TOKEN, WANDB_API_KEY, WANDB_BASE_URL."""


class Profile(Strict):
    """One cluster as a run sees it."""

    namespace: str = Field("retort", pattern=_NAME, max_length=63)
    """Namespace of the run's pods."""
    service_account: Name = "pipeline-runner"
    """Service account of the run's pods."""
    images: Images = Images()
    """Images."""
    secrets: Secrets = Secrets()
    """Secrets."""
    store: Store | None = None
    """The object store of runs; left out, RETORT_REMOTE and the AWS_ variables say where it is."""
    parallelism: int = Field(4, ge=1)
    """Shards, or evaluations of one model, that run at once."""
    retries: int = Field(3, ge=0, le=10)
    """Attempts of a task after the first; each goes on where the one before stopped."""
    state_interval_s: float = Field(30, gt=0)
    """Seconds between two copies of a stage's resume state into the store; a lost pod's later work is done again."""
    tables: Needs = Needs()
    """Stages that handle tables."""
    models: Needs = Needs(cpu="4", memory="32Gi", gpus=1, shm="8Gi")
    """Stages that run or train a model."""
    stages: dict[str, Needs] = {}
    """What differs for single stages."""

    @model_validator(mode="before")
    @classmethod
    def _stages_differ_from_their_kind(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not isinstance(values.get("stages", {}), dict):
            return values
        known = known_stages()
        if unknown := sorted(set(values.get("stages", {})) - set(known)):
            raise ValueError(f"stages names {', '.join(unknown)}; the stages are {', '.join(known)}")
        merged = {}
        for stage, given in values.get("stages", {}).items():
            kind = known[stage].uses
            base = values.get(kind, cls.model_fields[kind].default.model_dump())
            merged[stage] = {**base, **given} if isinstance(given, dict) and isinstance(base, dict) else given
        return {**values, "stages": merged}

    @property
    def gives_keys(self) -> bool:
        """Whether pods are given the store's keys; where a role has the right, they have none."""
        return self.store is None or not isinstance(self.store.credentials, RoleCredentials)

    def needs(self, stage: Stage) -> Needs:
        """What the pods of `stage` ask for."""
        return self.stages.get(stage.name, self.models if stage.uses == "models" else self.tables)

    def nodes(self, stage: Stage) -> int:
        """Nodes that `stage` runs on."""
        return self.needs(stage).nodes if stage.trains else 1


def names() -> list[str]:
    """Names of the profiles that come with Retort."""
    return sorted(file.stem for file in FOLDER.glob("*.yaml"))


def load_profile(name: str) -> Profile:
    """Read a profile by name or path, and let this process reach its object store, where it names one.

    Raises:
        ConfigError: there is none, or it is wrong.
    """
    file = Path(name) if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    if not file.exists():
        raise ConfigError(f"unknown profile {name!r}: use {', '.join(names())}, or the path of a YAML file.")
    try:
        found = Profile.model_validate(read_yaml(file))
    except ValidationError as error:
        problems = (f"  {'.'.join(map(str, item['loc'])) or '(top level)'}: {item['msg']}" for item in error.errors())
        raise ConfigError("\n".join([f"{file}: {error.error_count()} problem(s)", *problems])) from error
    if found.store is not None:
        found.store.reach()
    return found
