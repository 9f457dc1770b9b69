"""Whether a node takes a pod, with the kubernetes client's own objects."""

from types import SimpleNamespace

import pytest
from kubernetes.client import V1Node, V1NodeSpec, V1NodeStatus, V1ObjectMeta, V1Taint
from retort_pipelines.checks.capacity import full_name, gpus
from retort_pipelines.profiles import Profile


def node(name, *, taint=None, labels=None, unschedulable=None, count=0):
    taints = [V1Taint(key=taint, effect="NoSchedule")] if taint else None
    have = {"cpu": "16", "memory": "128Gi"} | ({"nvidia.com/gpu": str(count)} if count else {})
    return V1Node(
        metadata=V1ObjectMeta(name=name, labels=labels),
        spec=V1NodeSpec(taints=taints, unschedulable=unschedulable),
        status=V1NodeStatus(allocatable=have),
    )


def found(profile, *nodes):
    core = SimpleNamespace(list_node=lambda: SimpleNamespace(items=list(nodes)))
    return gpus(SimpleNamespace(core=core, profile=Profile.model_validate(profile)))


GPU = {"gpus": 1, "memory": "32Gi", "tolerations": [{"key": "nvidia.com/gpu"}], "node_selector": {"pool": "gpu"}}


def test_a_tainted_gpu_node_takes_a_pod_that_tolerates_it():
    check = found({"models": GPU}, node("c"), node("g", taint="nvidia.com/gpu", labels={"pool": "gpu"}, count=4))
    assert check.status == "OK"


@pytest.mark.parametrize(
    "change",
    [
        {"gpus": 8},
        {"memory": "256Gi"},
        {"cpu": "32"},
        {"tolerations": []},
        {"node_selector": {"pool": "other"}},
        {"gpu": "amd.com/gpu"},
    ],
)
def test_a_pod_that_no_node_takes_is_refused_with_the_nodes_that_there_are(change):
    nodes = node("cpu-0"), node("gpu-0", taint="nvidia.com/gpu", labels={"pool": "gpu"}, count=4)
    check = found({"models": GPU | change}, *nodes)
    assert check.status == "missing"
    assert "no node takes a pod of teacher_responses" in check.found
    assert "cpu-0 (16 cores, 128Gi, no GPU" in check.remedy
    assert "tainted nvidia.com/gpu:NoSchedule" in check.remedy


def test_a_cordoned_node_takes_nothing():
    assert found({"models": {"gpus": 0}}, node("c", unschedulable=True)).status == "missing"


def test_image_names_are_completed_as_nodes_list_them():
    assert full_name("python") == "docker.io/library/python:latest"
    assert full_name("retort/train:dev") == "docker.io/retort/train:dev"
    assert full_name("registry:5000/a/b") == "registry:5000/a/b:latest"
    assert full_name("localhost/x:1") == "localhost/x:1"
