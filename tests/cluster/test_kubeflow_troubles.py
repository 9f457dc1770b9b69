"""A run goes on through what happens to clusters; RETORT_CLUSTER_TOOL says that this one is ours to trouble."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator

import httpx2
import pytest

from retort.pod.run_records import Records
from tests.cluster.runs import Run, ended, in_the_middle, pods_of, until
from tests.cluster.support import CHECKOUT, Kubectl, Retort

AWAY_S = 300
"""How long Kubeflow's API server is away: what one is out for while its node is replaced."""


@pytest.fixture(scope="module")
def own() -> Kubectl:
    """kubectl where Kubeflow itself runs, with today's `k8s/kubeflow`."""
    if not os.environ.get("RETORT_CLUSTER_TOOL"):
        pytest.skip("the environment names no RETORT_CLUSTER_TOOL")
    run = Kubectl("kubeflow")
    patch = str(CHECKOUT / "k8s/kubeflow/workflow-controller-configmap.yaml")
    run("patch", "configmap", "workflow-controller-configmap", "--patch-file", patch)
    restart(run, "workflow-controller")
    return run


def restart(kubectl: Kubectl, deployment: str) -> None:
    """Put another pod in place of a deployment's."""
    kubectl("rollout", "restart", f"deployment/{deployment}")
    kubectl("rollout", "status", f"deployment/{deployment}", "--timeout=120s")


@pytest.fixture
def api_server(own: Kubectl, kubeflow: Retort) -> Iterator[Callable[[int], None]]:
    """Sets how many there are of Kubeflow's API server; one again after the test."""

    def scale(replicas: int) -> None:
        own("scale", "deployment/ml-pipeline", f"--replicas={replicas}")
        own("rollout", "status", "deployment/ml-pipeline", "--timeout=120s")

    yield scale
    scale(1)
    until(lambda: answers(kubeflow.environment["RETORT_KFP_HOST"]), "Kubeflow answers", 120)


def answers(host: str) -> bool:
    """Whether Kubeflow's API server is there."""
    with contextlib.suppress(httpx2.HTTPError):
        return httpx2.get(f"{host}/apis/v2beta1/healthz", timeout=5).is_success
    return False


def again(kubeflow: Retort, first: Run, stage: str, name: str) -> Run:
    """The first run again from a stage on."""
    said = kubeflow("rerun", first.name, "--from", stage, "--name", name)
    return Run(name, said.split()[1])


def test_a_run_outlives_five_minutes_without_kubeflows_api_server(kubeflow, own, pods, store, first, name, api_server):
    run = again(kubeflow, first, "reward", name("no-api"))
    in_the_middle(pods, store, run, "reward-learned")
    api_server(0)
    gone = time.monotonic()
    # What follows the reward needs a driver, and that the API server.
    until(lambda: failed_drivers(pods, run), "a driver that failed", 240)
    time.sleep(max(0.0, AWAY_S - (time.monotonic() - gone)))
    api_server(1)
    status = ended(kubeflow, run)
    assert status["state"] == "SUCCEEDED"
    assert Records.of(store, run.id).lock() == Records.of(store, first.id).lock()


def failed_drivers(pods: Kubectl, run: Run) -> list[str]:
    """Kubeflow's own pods of a run that failed."""
    listed = pods.json("get", "pods", "-l", f"pipeline/runid={run.id}", "--field-selector", "status.phase=Failed")
    return [pod["metadata"]["name"] for pod in listed["items"] if "driver" in pod["metadata"]["name"]]


def test_a_run_outlives_a_restart_of_argos_controller(kubeflow, own, pods, store, first, name):
    run = again(kubeflow, first, "sft", name("controller"))
    in_the_middle(pods, store, run, "sft-sft")
    restart(own, "workflow-controller")
    assert ended(kubeflow, run)["state"] == "SUCCEEDED"
    assert Records.of(store, run.id).lock() == Records.of(store, first.id).lock()


def test_a_drain_ends_at_once_and_the_stage_goes_on_from_its_copied_state(kubeflow, own, pods, store, first, name):
    run = again(kubeflow, first, "ppo", name("drain"))
    pod = in_the_middle(pods, store, run, "ppo-ppo")
    node = pods.json("get", "pod", pod)["spec"]["nodeName"]
    began = time.monotonic()
    try:
        own("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=120s")
        assert time.monotonic() - began < 90  # a pod's grace period, and the look every five seconds
    finally:
        own("uncordon", node)
    status = ended(kubeflow, run)
    assert status["state"] == "SUCCEEDED"
    assert next(one for one in status["stages"] if one["stage"] == "ppo-ppo")["attempts"] == 2
    (last,) = {one["metadata"]["name"] for one in pods_of(pods, run)["ppo-ppo"]} - {pod}
    assert "going on from the resume state" in pods("logs", last, "-c", "main")
    assert Records.of(store, run.id).lock() == Records.of(store, first.id).lock()
