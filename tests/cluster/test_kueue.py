"""Overlay and profile gpu-kueue under a real Kueue: who is admitted and where, who waits, who makes room."""

import json
import re
import time
import uuid
from dataclasses import replace

import pytest
from retort_pipelines.checks import kueue
from retort_pipelines.checks.base import Cluster
from retort_pipelines.graph.placement import RUN_LABEL
from retort_pipelines.profiles import Profile, load_profile
from retort_pipelines.runs.client import kubernetes_api
from retort_pipelines.runs.waiting import waiting

from retort.io.objects import Objects
from retort.pod.settings import parameter_of
from tests.cluster import image as images
from tests.cluster import support
from tests.cluster.pods import Pods
from tests.cluster.support import CHECKOUT, Kubectl, named, put_secret
from tests.cluster.test_pods import before, fragments_for, prepared, run_in_pods

HERE = CHECKOUT / "tests/cluster/kueue"
PROFILE = str(HERE / "profile.yaml")
NAMESPACE = load_profile(PROFILE).namespace
URGENT = {"kueue.x-k8s.io/priority-class": "retort-test-urgent"}


def until(question, limit_s=120):
    deadline = time.monotonic() + limit_s
    while not (said := question()) and time.monotonic() < deadline:
        time.sleep(1)
    return said


def gated(pod):
    return bool(pod["spec"].get("schedulingGates"))


@pytest.fixture(scope="module")
def kubectl():
    named("KUBECONFIG")
    run = Kubectl(NAMESPACE)
    if "localqueues" not in run("api-resources", f"--api-group={kueue.GROUP}", "-o", "name"):
        pytest.skip("the cluster has no Kueue")
    run("apply", "--server-side", "--force-conflicts", "-k", str(HERE))
    run("wait", "--for=condition=Active", "localqueue/retort", "--timeout=60s")
    probe = {"name": "probe", "labels": {"kueue.x-k8s.io/queue-name": "retort"}}
    restricted = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container = {"name": "main", "image": "x:1", "securityContext": restricted}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": probe, "spec": {"containers": [container]}}
    asked = run("create", "--dry-run=server", "-o", "json", "-f", "-", given=json.dumps(pod))
    if not gated(json.loads(asked)):
        pytest.skip(f"Kueue's integration with pods is off, or leaves out namespace {NAMESPACE}")
    return run


@pytest.fixture(scope="module")
def image(kubectl):
    found = images.find(kubectl)
    yield replace(found, name=found.name or load_profile(support.PROFILE).images.train)
    images.remove(kubectl)


@pytest.fixture
def secret(kubectl, store):
    put_secret(kubectl)


@pytest.fixture
def pods(kubectl, image, store, home, monkeypatch):
    config, _ = prepared(store, monkeypatch, home)
    return Pods(kubectl, image, config, home, PROFILE)


def flavors(kubectl, pod):
    """Flavors of which a pod's workload was given something."""
    for one in kubectl.json("get", "workloads")["items"]:
        if any(owner["name"] == pod for owner in one["metadata"].get("ownerReferences", [])):
            sets = one["status"].get("admission", {}).get("podSetAssignments", [])
            return {flavor for given in sets for flavor in given["flavors"].values()}
    return set()


def test_the_overlay_is_taken_as_it_is_written_and_its_queue_is_active(kubectl):
    again = kubectl("apply", "--server-side", "-k", str(HERE), check=False)
    assert "deprecated" not in again
    assert kubectl("diff", "--server-side", "-k", str(HERE)) == ""
    (active,) = kubectl.json("get", "clusterqueue", NAMESPACE)["status"]["conditions"]
    assert (active["type"], active["status"]) == ("Active", "True")


def test_the_namespaces_quota_refuses_nothing_that_the_queue_counts(kubectl):
    hard = kubectl.json("get", "resourcequota", "retort")["spec"]["hard"]
    groups = kubectl.json("get", "clusterqueue", NAMESPACE)["spec"]["resourceGroups"]
    counted = {resource for group in groups for resource in group["coveredResources"]}
    assert counted >= {"cpu", "memory", "nvidia.com/gpu"}
    assert not {key.removeprefix("requests.").removeprefix("limits.") for key in hard} & counted


def test_stages_go_through_the_queue_to_the_right_nodes(kubectl, image, store, secret, home, monkeypatch):
    config, given = prepared(store, monkeypatch, home, ["prompts.limit=40"])
    pods = Pods(kubectl, image, config, home, PROFILE)
    _, started = run_in_pods(pods, config, given, before(config, "votes"))
    for name in started:
        wanted = "retort-gpu" if "teacher" in name else "retort-cpu"
        assert flavors(kubectl, pods.full(name)) == {wanted}, name
    pods.remove(*started)


@pytest.mark.parametrize(("stage", "room", "flavor"), [("sft-sft", 1, "retort-gpu"), ("votes", 2, "retort-cpu")])
def test_what_is_over_quota_waits_says_why_and_goes_when_there_is_room(pods, kubectl, stage, room, flavor):
    run = uuid.uuid4().hex
    held = [f"q-{stage}-{number}" for number in range(room + 1)]
    *first, last = held
    try:
        for name in first:
            pods.hold(name, stage, {RUN_LABEL: run})
        assert until(lambda: all(pods.phase(name) == "Running" for name in first))
        pods.hold(last, stage, {RUN_LABEL: run})
        (why,) = until(lambda: [one for one in waiting(run, NAMESPACE, {}) if "quota" in one.reason])
        assert why.pod == pods.full(last)
        assert why.reason.startswith("SchedulingGated: ")
        assert f"in flavor {flavor}" in why.reason
        assert gated(pods.get(last))
        pods.remove(first[0])
        assert until(lambda: pods.phase(last) == "Running")
        assert flavors(kubectl, pods.full(last)) == {flavor}
        assert ("nvidia.com/gpu.present" in pods.node(last)) == (stage == "sft-sft")
    finally:
        pods.remove(*held)


def said(change):
    """What `retort doctor --cluster` and `submit` say of the queue for a profile with this change."""
    values = load_profile(PROFILE).model_dump()
    values["models"] |= change
    with kubernetes_api() as api:
        return kueue.queue(Cluster(api, Profile.model_validate(values | {"stages": {}}), "s3://unused"))


def test_the_check_before_a_run_knows_which_pods_the_queue_could_never_admit(kubectl):
    assert said({}).status == "OK"
    assert said({"queue": "other"}).found == "no other; there are: retort"
    assert "has no amd.com/gpu" in said({"gpu": "amd.com/gpu"}).found
    assert "has no flavor that is big enough" in said({"gpus": 2}).found
    try:
        kubectl("patch", "clusterqueue", NAMESPACE, "--type=merge", "-p", '{"spec": {"stopPolicy": "Hold"}}')
        assert until(lambda: said({}).status == "missing", 30)
        assert "retort admits nothing" in said({}).found
    finally:
        kubectl("patch", "clusterqueue", NAMESPACE, "--type=merge", "-p", '{"spec": {"stopPolicy": "None"}}')
        kubectl("wait", "--for=condition=Active", "localqueue/retort", "--timeout=60s")


@pytest.mark.slow
def test_a_stage_makes_room_for_a_more_urgent_one_and_goes_on_where_it_was(
    kubectl, image, own_store, secret, home, monkeypatch
):
    config, given = prepared(own_store, monkeypatch, home, ["seed=3", "sft.steps=400", "sft.checkpoint_steps=400"])
    pods = Pods(kubectl, image, config, home, PROFILE)
    made, started = run_in_pods(pods, config, given, before(config, "sft-sft"))
    upstream = fragments_for(config, "sft-sft", made)
    state = Objects.of(own_store, "state")
    try:
        # No checkpoint is due before the last step: what is in the store was saved because the pod was told to end.
        pods.start("p-sft-1", "sft-sft", given[parameter_of("sft-sft")], upstream)
        assert until(lambda: re.search(r"sft: \d+/400 steps", pods.log("p-sft-1")), 600)
        assert not any("checkpoint-" in name for name in state.names())
        pods.hold("p-urgent", "ppo-ppo", URGENT)
        assert until(lambda: pods.phase("p-urgent") == "Running")
        # Kueue admits the urgent pod while the other one still saves.
        assert until(lambda: any("checkpoint-" in name for name in state.names()))
        pods.start("p-sft-2", "sft-sft", given[parameter_of("sft-sft")], upstream)  # as Argo's retry does
        assert until(lambda: gated(pods.get("p-sft-2")))
        pods.remove("p-urgent")
        pods.finish("p-sft-2")
        assert "going on from the resume state" in pods.log("p-sft-2")
    finally:
        pods.remove("p-sft-1", "p-urgent", "p-sft-2", *started)
