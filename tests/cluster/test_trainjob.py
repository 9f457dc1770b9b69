"""A stage on two nodes through Kubeflow's Trainer; skips where its resource types or its controller are missing."""

import json
import time

import pytest
import yaml
from retort_pipelines.graph.placement import Placement
from retort_pipelines.profiles import load_profile

from retort.io.objects import Objects
from retort.pod.settings import parameter_of
from retort.run.known_stages import known_stages
from tests.cluster.pods import Pods
from tests.cluster.support import CHECKOUT, PROFILE
from tests.cluster.test_pods import before, fragments_for, prepared, run_in_pods

CRD = "trainjobs.trainer.kubeflow.org"


@pytest.fixture(scope="module")
def trainer(kubectl):
    """kubectl in the namespace with the manifests for several nodes."""
    if kubectl("get", "crd", CRD, "--ignore-not-found") == "":
        pytest.skip(f"the cluster has no {CRD}: Kubeflow Trainer is not installed")
    kubectl("apply", "--server-side", "--force-conflicts", "-k", str(CHECKOUT / "k8s/overlays/trainer"))
    return kubectl


@pytest.fixture(scope="module")
def profile(tmp_path_factory):
    """Two nodes for SFT, the rest as everywhere."""
    file = tmp_path_factory.mktemp("profile") / "nodes.yaml"
    file.write_text(yaml.safe_dump({"extends": PROFILE, "stages": {"sft": {"nodes": 2, "gpus": 1}}}))
    return str(file)


def train_job(name, stage="sft", **needs):
    profile = load_profile(PROFILE)
    asked = profile.needs(known_stages()[stage]).model_copy(update={"nodes": 2} | needs)
    made = Placement(profile)._train_job("train", asked)
    made["metadata"]["name"] = name
    return made


@pytest.mark.parametrize(
    "needs",
    [
        {},
        {"gpus": 8, "scratch": "100Gi", "scratch_class": "standard", "shm": "16Gi", "timeout_hours": 1.5},
        {"queue": "retort", "priority": "high", "nodes": 16},
    ],
)
def test_trainer_takes_what_a_profile_asks_for(trainer, needs):
    made = train_job("probe", **needs)
    said = trainer("apply", "--server-side", "--dry-run=server", "-o", "json", "-f", "-", given=json.dumps(made))
    taken = json.loads(said)["spec"]
    assert taken["trainer"] == made["spec"]["trainer"]  # nothing was unknown and dropped
    (patch,) = taken["runtimePatches"]
    spec = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    asked = made["spec"]["runtimePatches"][0]["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"][0]
    assert {key: len(value) for key, value in spec.items()} == {
        key: len(value) for key, value in asked["template"]["spec"]["template"]["spec"].items()
    }


def test_trainer_refuses_what_it_does_not_know(trainer):
    made = train_job("probe")
    made["spec"]["trainer"]["nodes"] = 2
    said = trainer("apply", "--server-side", "--dry-run=server", "-f", "-", given=json.dumps(made), check=False)
    assert "field not declared in schema" in said


@pytest.fixture
def ready(trainer, image, own_store, secret, profile, tmp_path, monkeypatch):
    """Pods, settings, and the fragments that SFT reads from."""
    if image.name is not None:
        pytest.skip("a TrainJob's nodes need the built image")
    if "1/1" not in trainer("get", "deployment", "-A", "-l", "app.kubernetes.io/name=trainer"):
        pytest.skip("Kubeflow Trainer's controller does not run")
    for name in ("configs", "retort"):
        (tmp_path / name).symlink_to(CHECKOUT / name)
    config, given = prepared(own_store, monkeypatch, tmp_path, ["sft.steps=300", "sft.checkpoint_steps=20"])
    pods = Pods(trainer, image, config, tmp_path, profile)
    made, started = run_in_pods(pods, config, given, before(config, "sft-sft"))
    pods.remove(*started)
    return pods, given[parameter_of("sft-sft")], fragments_for(config, "sft-sft", made)


def one_thread(pods):
    """The TrainJob of the pipeline, its nodes with one thread each."""
    job = json.loads(pods.environment("sft-sft")["RETORT_TRAINJOB"])
    job["spec"]["trainer"]["env"].append({"name": "OMP_NUM_THREADS", "value": "1"})
    return json.dumps(job)


def nodes_of(kubectl):
    listed = kubectl.json("get", "pods", "-l", "retort/node=true")["items"]
    return {one["metadata"]["name"]: one["status"]["phase"] for one in listed}


def until(condition, limit_s=300):
    deadline = time.monotonic() + limit_s
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert found
    return found


@pytest.mark.slow
def test_two_nodes_train_one_model_and_one_that_is_told_to_go_leaves_none_behind(trainer, own_store, ready):
    pods, settings, upstream = ready
    state = Objects.of(own_store, "state")
    # Told to go in the middle: its nodes go with it, and the next attempt goes on from their checkpoint.
    pods.start("n-sft-1", "sft-sft", settings, upstream, RETORT_TRAINJOB=one_thread(pods))
    until(lambda: any("checkpoint-" in name for name in state.names()))
    assert len(nodes_of(trainer)) == 2
    pods.remove("n-sft-1")
    until(lambda: not nodes_of(trainer), 90)
    assert trainer("get", CRD) == ""
    pods.start("n-sft-2", "sft-sft", settings, upstream, RETORT_TRAINJOB=one_thread(pods))
    resumed = pods.finish("n-sft-2")
    assert "going on from the resume state" in pods.log("n-sft-2")
    assert state.names() == []
    # Undisturbed, and by one pod with two processes: the same model.
    pods.start("n-sft-3", "sft-sft", settings, upstream, RETORT_TRAINJOB=one_thread(pods), RETORT_FORCE="1")
    assert pods.finish("n-sft-3") == resumed
    pods.start("n-sft-4", "sft-sft", settings, upstream, RETORT_TRAINJOB="", RETORT_PROCESSES="2", RETORT_FORCE="1")
    assert pods.finish("n-sft-4") == resumed
    pods.remove("n-sft-2", "n-sft-3", "n-sft-4")
