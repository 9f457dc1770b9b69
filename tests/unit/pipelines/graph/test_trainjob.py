"""The TrainJob of a stage on several nodes, held to the models that Trainer generates from its resource types."""

import json
from pathlib import Path

import pytest
import yaml
from kubeflow_trainer_api.models.trainer_v1alpha1_train_job import TrainerV1alpha1TrainJob
from kubeflow_trainer_api.models.trainer_v1alpha1_training_runtime import TrainerV1alpha1TrainingRuntime
from retort_pipelines.graph.compile import compile as write
from retort_pipelines.graph.trainjob import RUNTIME, manifest
from retort_pipelines.profiles import Profile

from retort.config import load_config
from retort.pod.trainjob import completed

RUNTIME_FILE = Path("k8s/components/trainer/runtime.yaml")
MODELS = {
    "gpus": 8,
    "nodes": 2,
    "shm": "16Gi",
    "scratch": "100Gi",
    "scratch_class": "fast",
    "timeout_hours": 1.5,
    "queue": "gpus",
    "node_selector": {"pool": "a"},
    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
}


@pytest.fixture(scope="module")
def executors(tmp_path_factory):
    """Containers of the compiled pipeline by stage, and what Kubernetes is told of their pods."""
    file = tmp_path_factory.mktemp("compiled") / "pipeline.yaml"
    profile = Profile.model_validate({"models": MODELS, "images": {"train": "r/train:1", "pull_secrets": ["pull"]}})
    write(load_config(Path("configs/smoke.yaml")), profile, file)
    spec, platform = yaml.safe_load_all(file.read_text())
    containers = {
        name.removeprefix("exec-"): one["container"] for name, one in spec["deploymentSpec"]["executors"].items()
    }
    return containers, platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


@pytest.fixture(scope="module")
def job(executors):
    """The TrainJob that SFT's pod is given."""
    return json.loads({one["name"]: one["value"] for one in executors[0]["sft-sft"]["env"]}["RETORT_TRAINJOB"])


def unknown_to(model, manifest):
    """Whether the generated model loses something of the manifest: a field that Trainer does not know."""
    return model.from_dict(manifest).to_dict() != manifest


def test_trainer_knows_every_field(job, monkeypatch):
    monkeypatch.setenv("KFP_POD_NAME", "waiting")
    monkeypatch.setenv("KFP_POD_UID", "1-2-3")
    whole = completed(job, "sft-0123456789abcdef", {"stage": "sft"})
    assert whole["metadata"]["ownerReferences"][0]["name"] == "waiting"
    assert not unknown_to(TrainerV1alpha1TrainJob, whole)
    whole["spec"]["trainer"]["nodes"] = 2
    assert unknown_to(TrainerV1alpha1TrainJob, whole)


def test_trainer_knows_every_field_of_the_runtime():
    runtime = yaml.safe_load(RUNTIME_FILE.read_text())
    assert runtime["metadata"]["name"] == RUNTIME
    assert not unknown_to(TrainerV1alpha1TrainingRuntime, runtime)


def test_each_node_gets_what_the_profile_asks_for(job):
    trainer = job["spec"]["trainer"]
    assert trainer["image"] == "r/train:1"
    assert (trainer["numNodes"], trainer["numProcPerNode"]) == (2, 8)
    assert trainer["resourcesPerNode"]["limits"] == {"memory": "4Gi", "nvidia.com/gpu": "8"}
    assert job["spec"]["activeDeadlineSeconds"] == 5400
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
    (patched,) = job["spec"]["runtimePatches"][0]["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    pod = patched["template"]["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"pool": "a"}
    assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists"}]
    assert pod["imagePullSecrets"] == [{"name": "pull"}]
    assert [one["mountPath"] for one in pod["containers"][0]["volumeMounts"]] == ["/dev/shm", "/scratch"]  # noqa: S108


@pytest.mark.parametrize(
    ("change", "volume"),
    [
        ({"scratch_class": None}, {"emptyDir": {"sizeLimit": "100Gi"}}),
        (
            {},
            {
                "ephemeral": {
                    "volumeClaimTemplate": {
                        "spec": {
                            "accessModes": ["ReadWriteOnce"],
                            "resources": {"requests": {"storage": "100Gi"}},
                            "storageClassName": "fast",
                        }
                    }
                }
            },
        ),
    ],
)
def test_the_workspace_is_on_the_nodes_disk_or_on_a_volume_of_the_class(change, volume):
    profile = Profile.model_validate({"models": MODELS | change})
    made = manifest(profile, profile.models, image="r/train:1", secrets={}, scratch="/scratch")
    (patched,) = made["spec"]["runtimePatches"][0]["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    assert {"name": "scratch"} | volume in patched["template"]["spec"]["template"]["spec"]["volumes"]


def test_nodes_know_secrets_by_name_only(job):
    named = {
        one["name"]: one["valueFrom"]["secretKeyRef"] for one in job["spec"]["trainer"]["env"] if "valueFrom" in one
    }
    assert named["AWS_SECRET_ACCESS_KEY"] == {"name": "retort-store", "key": "AWS_SECRET_ACCESS_KEY", "optional": True}
    assert named["HF_TOKEN"]["name"] == "retort-models"


def test_the_pod_that_waits_asks_for_no_gpu_and_stages_that_do_not_train_have_no_nodes(executors):
    containers, placed = executors
    for stage in ("sft-sft", "reward-learned", "ppo-ppo"):
        assert "accelerator" not in containers[stage]["resources"], stage
        assert "RETORT_PROCESSES" not in {one["name"] for one in containers[stage]["env"]}
        assert "nodeSelector" not in placed[f"exec-{stage}"]
    for stage in ("teacher-responses", "evaluate-base"):
        assert containers[stage]["resources"]["accelerator"]["resourceCount"] == "8"
        assert "RETORT_TRAINJOB" not in {one["name"] for one in containers[stage]["env"]}
