"""The pod that waits for a TrainJob, on an API server that only remembers what it was asked."""

import json
import os
import signal
from types import SimpleNamespace

import pytest
from kubernetes.client import ApiException

from retort.errors import ClusterError, InterruptionError, StageError
from retort.io.objects import Objects
from retort.modeling import preemption
from retort.pod import trainjob
from retort.run.tasks import graph
from tests.conftest import training_config

JOB = {"metadata": {"labels": {}}, "spec": {"trainer": {"numNodes": 2}}}


class Cluster:
    """TrainJobs and their pods; `steps` are what the controller does between two looks at a TrainJob."""

    def __init__(self, *steps, results=None):
        self.steps, self.results = list(steps), results
        self.jobs, self.pods, self.calls = {}, [], []

    def create_namespaced_custom_object(self, group, version, namespace, plural, manifest):
        name = manifest["metadata"]["name"]
        self.calls.append(("create", name))
        self.jobs[name] = dict(manifest)
        self.made = manifest

    def delete_namespaced_custom_object(self, group, version, namespace, plural, name, propagation_policy):
        self.calls.append(("delete", name))
        if self.jobs.pop(name, None) is None:
            raise ApiException(status=404)
        self.pods.clear()

    def get_namespaced_custom_object(self, group, version, namespace, plural, name):
        if name not in self.jobs:
            raise ApiException(status=404)
        if self.steps:
            self.steps.pop(0)(self, name)
        return self.jobs[name]

    def list_namespaced_pod(self, namespace, label_selector):
        return SimpleNamespace(items=list(self.pods))

    def read_namespaced_pod_log(self, name, namespace, **how):
        return SimpleNamespace(stream=lambda: [b"step 1\n"]) if how.get("follow") else f"{name} said why"


def pod(node, exit_code=None):
    state = SimpleNamespace(terminated=None if exit_code is None else SimpleNamespace(exit_code=exit_code))
    status = SimpleNamespace(phase="Running", container_statuses=[SimpleNamespace(state=state)])
    labels = {"batch.kubernetes.io/job-completion-index": str(node)}
    return SimpleNamespace(metadata=SimpleNamespace(name=f"node-{node}", labels=labels), status=status)


def ends(kind, *pods, message=""):
    def step(cluster, name):
        cluster.pods[:] = pods
        cluster.jobs[name]["status"] = {"conditions": [{"type": kind, "status": "True", "message": message}]}
        if kind == "Complete":
            cluster.results.write(name, b"sha256:abc")

    return step


def waits(cluster, name):
    """Nothing happens."""


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(trainjob, "POLL_S", 0.01)
    monkeypatch.setattr(preemption, "_asked", False)
    before = signal.getsignal(signal.SIGTERM)

    def go(cluster):
        cluster.results = Objects.of(str(tmp_path), "trainjobs")
        monkeypatch.setattr(trainjob.TrainJobs, "here", lambda: trainjob.TrainJobs(cluster, cluster, "retort"))
        task = graph(training_config(), tmp_path).by_address["sft-sft"]
        return trainjob.run(task, [json.dumps({"remote": str(tmp_path)}), "sha256:in"], JOB)

    yield go
    signal.signal(signal.SIGTERM, before)


def test_the_fragment_of_the_first_node_is_handed_on_and_nothing_is_left(run, capfd):
    cluster = Cluster(
        waits, lambda one, _: one.pods.append(pod(0)), waits, waits, waits, waits, ends("Complete", pod(0, 0))
    )
    assert run(cluster) == "sha256:abc"
    assert [verb for verb, _ in cluster.calls] == ["delete", "create", "delete"]
    assert cluster.jobs == {}
    assert cluster.results.names() == []


def test_nodes_are_told_the_task_and_a_new_attempt_has_the_same_name(run, monkeypatch):
    first, second, other = (Cluster(ends("Complete")) for _ in range(3))
    run(first)
    kept = first.made
    told = json.loads(kept["spec"]["trainer"]["args"][-1])
    assert kept["spec"]["trainer"]["args"][:3] == ["python3", "-m", "retort.pod.node"]
    assert (told["item"], told["given"][1], told["job"]) == ("sft", "sha256:in", kept["metadata"]["name"])
    run(second)
    monkeypatch.setenv("RETORT_RUN", "another")
    run(other)
    names = [cluster.calls[0][1] for cluster in (first, second, other)]
    assert names[0] == names[1] != names[2]
    assert len(names[0]) < 40


def test_nodes_know_what_their_pod_knows_by_its_environment(run, monkeypatch):
    monkeypatch.setenv("RETORT_RUN", "5f")
    monkeypatch.setenv("RETORT_OPERATION", '{"tracker": null}')
    cluster = Cluster(ends("Complete"))
    run(cluster)
    env = {one["name"]: one["value"] for one in cluster.made["spec"]["trainer"]["env"]}
    assert env == {"RETORT_RUN": "5f", "RETORT_OPERATION": '{"tracker": null}'}


@pytest.mark.parametrize(
    ("pods", "code"),
    [
        ([pod(0, 65), pod(1, 1)], 65),  # the first node knows best
        ([pod(0), pod(1, 137)], 137),
        ([], 75),  # the nodes are gone: another attempt may find them
    ],
)
def test_a_failed_node_fails_the_task_with_its_exit_code(run, caplog, pods, code):
    cluster = Cluster(waits, ends("Failed", *pods, message="jobset failed"))
    with pytest.raises(StageError) as caught:
        run(cluster)
    assert caught.value.exit_code == code
    assert "jobset failed" in caplog.text
    assert ("node-1 said why" in caplog.text) == (len(pods) == 2)
    assert cluster.jobs == {}


def test_sigterm_removes_the_trainjob(run):
    cluster = Cluster(waits, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(InterruptionError):
        run(cluster)
    assert cluster.calls[-1][0] == "delete"
    assert cluster.jobs == {}


def test_one_that_somebody_removed_is_a_failure_that_another_attempt_may_mend(run):
    cluster = Cluster()
    cluster.create_namespaced_custom_object = lambda *_: None  # and gone at once
    with pytest.raises(StageError) as caught:
        run(cluster)
    assert caught.value.exit_code == 75


def test_a_webhook_that_is_away_for_a_moment_costs_no_task(run, caplog):
    cluster = Cluster(ends("Complete"))
    refusals = [ApiException(status=500, reason="connection refused"), ApiException(status=503)]
    create = cluster.create_namespaced_custom_object
    cluster.create_namespaced_custom_object = lambda *given: refused(refusals) or create(*given)
    assert run(cluster) == "sha256:abc"
    assert "connection refused" in caplog.text
    assert refusals == []


def refused(refusals):
    if refusals:
        raise refusals.pop(0)


def test_a_refusal_says_what_is_needed(run):
    cluster = Cluster()

    def refuse(*_):
        raise ApiException(status=403, reason="Forbidden")

    cluster.create_namespaced_custom_object = refuse
    with pytest.raises(ClusterError, match=r"403 Forbidden.*k8s/components/trainer"):
        run(cluster)


@pytest.mark.parametrize(
    ("status", "words"), [(403, r"removing it is refused \(403 Forbidden\)"), (500, r"still there 0 s after")]
)
def test_one_that_cannot_be_removed_ends_the_attempt(run, monkeypatch, status, words):
    def refuse(*_, **__):
        raise ApiException(status=status, reason="Forbidden")

    cluster = Cluster(waits)
    cluster.delete_namespaced_custom_object = refuse
    cluster.get_namespaced_custom_object = lambda *_: {"left": "by another attempt"}
    monkeypatch.setattr(trainjob, "REMOVAL_S", 0.05)
    with pytest.raises(ClusterError, match=words):
        run(cluster)
    assert cluster.calls == []  # nothing was made beside it
