"""`retort status` and following a run: what it does, why it waits, what became of it."""

import pytest

from retort.errors import UnknownOutcomeError
from retort.pod.run_records import Failure, Records
from tests.kubeflow_server.cluster import PREFIX, STORE

TOY = ("--config", "toy.yaml", "--name", "a")
WAIT = ("submit", *TOY, "--wait")


@pytest.fixture
def run(cluster):
    """A run that was submitted."""
    return cluster.submitted()


def failed(run, *, pod="p", stage="sft", code=65):
    Records.of(STORE, run).keep_failure(Failure(stage, pod, code, "is too long. Raise sft.max_length", ["one", "two"]))


def test_a_run_is_shown_with_its_stages_in_order(cluster, run):
    cluster.node(run, "prompts(0).executor(0)", "Pod", "Succeeded", finishedAt="2026-11-22T21:00:09Z")
    cluster.node(run, "models(0).executor", "Skipped", "Skipped")
    out, _ = cluster.retort("status", "a")
    head, link, *rows = out.splitlines()
    assert head == "a  PENDING"
    assert link.endswith(run)
    assert [row.split() for row in rows] == [["prompts", "SUCCEEDED", "9", "s"], ["models", "CACHED"]]
    said = cluster.json("status", run)  # by its id
    assert [one["stage"] for one in said["stages"]] == ["prompts", "models"]


def test_what_failed_stages_said_is_shown_once_for_attempts_that_ended_alike(cluster, run):
    for pod in ("p1", "p2"):
        failed(run, pod=pod)
    cluster.end(run, "FAILED")
    out, _ = cluster.retort("status", "a")
    assert out.count("Raise sft.max_length") == 1
    assert "sft, pod p1 and 1 more, exit code 65:" in out
    assert "  | two" in out


def test_a_cancelled_run_is_shown_as_cancelled_though_kubeflow_says_failed(cluster, run):
    cluster.retort("cancel", "a")
    cluster.end(run, "FAILED")
    assert cluster.retort("status", "a")[0].startswith("a  CANCELED")
    assert cluster.json("status", "a")["state"] == "CANCELED"


def test_pods_that_were_ended_from_outside_say_why(cluster, run):
    cluster.node(run, "sft(0).executor(0)", "Pod", "Failed", message="main: OOMKilled (exit code 137)")
    cluster.node(run, "ppo-driver(0)", "Pod", "Failed", message="Error (exit code 1)")
    cluster.node(run, "votes(0).executor(0)", "Pod", "Failed", message="Error (exit code 75)")
    out, _ = cluster.retort("status", "a")
    assert "sft(0).executor(0): main: OOMKilled (exit code 137)" in out
    assert "ppo-driver(0): Error (exit code 1)" in out
    assert "exit code 75" not in out  # the stage has said more itself


BACK_OFF = {"waiting": {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "r/train:1"'}}
TROUBLES = [
    (
        {"containerStatuses": [{"name": "main", "state": BACK_OFF}]},
        'ImagePullBackOff: Back-off pulling image "r/train:1"',
    ),
    ({"initContainerStatuses": [{"name": "init", "state": BACK_OFF}]}, "ImagePullBackOff"),
    (
        {
            "conditions": [
                {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/2 nodes"}
            ]
        },
        "Unschedulable: 0/2 nodes",
    ),
]


def waiting(cluster, run, status, *names):
    for part in ("containerStatuses", "initContainerStatuses"):
        for one in status.get(part, []):
            one |= {"image": "i", "imageID": "", "ready": False, "restartCount": 0}
    for name in names:
        cluster.pod(run, name, f"sft(0).executor({name})", phase="Pending", **status)


@pytest.mark.parametrize(("status", "words"), TROUBLES)
def test_why_pods_do_not_start_is_shown_once_for_all_that_wait_alike(cluster, run, status, words):
    waiting(cluster, run, status, "p0", "p1", "p2")
    out, _ = cluster.retort("status", "a")
    assert f"waiting: p0 and 2 more: {words}" in out
    assert out.count("waiting: ") == 1


def test_a_pod_that_is_only_being_made_is_no_trouble(cluster, run):
    waiting(
        cluster,
        run,
        {"containerStatuses": [{"name": "main", "state": {"waiting": {"reason": "ContainerCreating"}}}]},
        "p",
    )
    assert "waiting" not in cluster.retort("status", "a")[0]


def test_a_pod_that_a_quota_does_not_let_be_made_says_so(cluster, run):
    words = 'pods "p" is forbidden: exceeded quota: retort, requested: requests.cpu=4'
    cluster.node(run, "sft(0).executor(0)", "Pod", "Pending", message=words)
    assert f"executor(0): {words}" in cluster.retort("status", "a")[0]


def test_a_gated_pod_says_why_in_kueues_words(cluster, run):
    gate = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "message": "non-empty gates"}
    cluster.pod(run, "p", "sft(0).executor(0)", phase="Pending", conditions=[gate])
    cluster.kubernetes.objects[f"{PREFIX}/pods/p"]["spec"]["schedulingGates"] = [{"name": "kueue.x-k8s.io/admission"}]
    assert "p: SchedulingGated: non-empty gates" in cluster.retort("status", "a")[0]
    cluster.kubernetes.put(
        "/apis/kueue.x-k8s.io/v1beta2/namespaces/retort/workloads/w",
        metadata={"ownerReferences": [{"name": "p"}]},
        status={"conditions": [{"type": "QuotaReserved", "status": "False", "message": "insufficient quota"}]},
    )
    assert "p: SchedulingGated: insufficient quota" in cluster.retort("status", "a")[0]


def test_a_kubernetes_that_is_away_hides_only_why_pods_wait(cluster, run):
    with cluster.kubernetes.away():
        out, _ = cluster.retort("status", "a")
    assert out.startswith("a  PENDING")
    assert "why pods do not start cannot be asked: Kubernetes does not answer" in out


def test_a_store_that_is_away_is_said(cluster, run):
    cluster.s3.access_key = "another"
    cluster.end(run, "FAILED")
    out, err = cluster.retort("status", "a")
    assert out.startswith("a  FAILED")
    assert "What failed stages said cannot be read" in err


def test_an_unknown_run_names_those_that_there_are(cluster, run):
    _, err = cluster.retort("status", "b", code=64)
    assert "no run 'b' at" in err
    assert "the newest are: a." in err


def test_of_runs_of_one_name_the_one_under_way_is_meant_then_the_one_that_ended_well(cluster, run):
    for state in ("FAILED", "SUCCEEDED"):
        newer = dict(cluster.kubeflow.runs[run], run_id=state, state="FAILED", created_at="2030-01-01T00:00:00Z")
        cluster.kubeflow.runs[state] = newer
        cluster.kubeflow.workflows[state] = {"spec": {}, "status": {}}
    assert cluster.json("status", "a")["run_id"] == run
    cluster.end(run)
    assert cluster.json("status", "a")["run_id"] == run
    cluster.end(run, "FAILED")
    assert cluster.json("status", "a")["run_id"] == "SUCCEEDED"  # the newest by its id, of those of one second


def at_look(cluster, number, call):
    """Let something happen just before a run is looked at for the n-th time from now on."""

    def count():
        nonlocal number
        number -= 1
        if number:
            cluster.kubeflow.before.append(("GET /apis/v1beta1/runs/", count))
        else:
            call()

    cluster.kubeflow.before.append(("GET /apis/v1beta1/runs/", count))


def test_wait_follows_a_run_to_its_end_and_shows_each_change_once(cluster, run):
    def ends():
        cluster.node(run, "prompts(0).executor(0)", "Pod", "Succeeded", finishedAt="2026-11-22T21:00:09Z")
        cluster.end(run)

    cluster.node(run, "prompts-driver(0)", "Pod", "Running")
    at_look(cluster, 4, ends)
    _, err = cluster.retort(*WAIT)
    lines = [line.split()[:2] for line in err.splitlines() if line.startswith("  ")]
    assert lines == [["prompts", "PENDING"], ["prompts", "SUCCEEDED"]]
    assert err.endswith("a  SUCCEEDED\n")


@pytest.mark.parametrize("code", [65, 75, 1])
def test_wait_ends_with_the_failed_stages_exit_code_and_its_words(cluster, run, code):
    failed(run, code=code)
    cluster.end(run, "RUNNING")
    at_look(cluster, 2, lambda: cluster.end(run, "FAILED"))
    _, err = cluster.retort(*WAIT, code=code)
    assert "Raise sft.max_length" in err
    assert f"stage sft failed with exit code {code}" in err


def test_wait_shows_each_reason_for_waiting_once(cluster, run):
    waiting(cluster, run, TROUBLES[0][0], "p0", "p1")
    cluster.node(run, "sft-driver(0)", "Pod", "Running")
    at_look(cluster, 5, lambda: cluster.end(run))
    _, err = cluster.retort(*WAIT)
    assert err.count("waiting: ") == 1
    assert "  waiting: p0: ImagePullBackOff: Back-off pulling image" in err


def test_wait_goes_on_without_kubernetes(cluster, run):
    cluster.kubernetes.refuse("GET .*/pods$", 403, "no")
    at_look(cluster, 4, lambda: cluster.end(run))
    _, err = cluster.retort(*WAIT)
    assert err.count("why pods do not start cannot be asked: Kubernetes: no Ask for that right") == 1


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429])
@pytest.mark.parametrize("path", ["GET /apis/v2beta1/runs/", "GET /apis/v1beta1/runs/"])
def test_wait_outlives_an_api_server_that_is_away_for_a_while_and_says_so_once(cluster, run, status, path):
    at_look(cluster, 2, lambda: cluster.kubeflow.refuse(path, status, "starting", times=4))
    at_look(cluster, 9, lambda: cluster.end(run))
    cluster.end(run, "RUNNING")
    _, err = cluster.retort(*WAIT)
    assert err.count("Asking again") == 1
    assert err.count("answers again") == 1
    assert err.endswith("a  SUCCEEDED\n")


def test_wait_outlives_refused_connections(cluster, run):
    import threading

    def restart():
        cluster.kubeflow._server.server_close()  # in a request: no waiting for it
        threading.Timer(0.5, lambda: (cluster.kubeflow._server.shutdown(), cluster.kubeflow.start())).start()

    cluster.end(run, "RUNNING")
    at_look(cluster, 2, restart)
    at_look(cluster, 4, lambda: cluster.end(run))
    _, err = cluster.retort(*WAIT)
    assert err.endswith("a  SUCCEEDED\n")


def test_a_kubeflow_that_stays_away_is_no_failed_run(cluster, run, monkeypatch):
    monkeypatch.setattr("retort_pipelines.runs.client.PATIENCE_S", 0.3)
    cluster.end(run, "RUNNING")
    at_look(cluster, 2, lambda: cluster.kubeflow.refuse("GET", 503, "no healthy upstream"))
    _, err = cluster.retort(*WAIT, code=UnknownOutcomeError.exit_code)
    assert "What was started goes on without it; the same command looks again." in err
    for verb in (("status", "a"), ("logs", "a", "sft")):
        cluster.retort(*verb, code=UnknownOutcomeError.exit_code)


def test_status_waits_for_an_api_server_that_is_starting(cluster, run):
    cluster.kubeflow.refuse("GET /apis/v1beta1/healthz", 503, "starting", times=2)
    _, err = cluster.retort("status", "a")
    assert "Asking again, for up to 10 minutes" in err


def test_wait_leaves_a_run_that_was_ended_for_an_equal_one_of_the_same_moment(cluster, run):
    def yielded():
        twin = dict(cluster.kubeflow.runs[run], run_id="twin", state="RUNNING")
        cluster.kubeflow.runs["twin"], cluster.kubeflow.workflows["twin"] = twin, {"spec": {}, "status": {}}
        cluster.kubeflow.workflows[run]["spec"]["activeDeadlineSeconds"] = 0
        cluster.end(run, "FAILED")
        at_look(cluster, 4, lambda: cluster.end("twin"))

    cluster.end(run, "RUNNING")
    at_look(cluster, 2, yielded)
    _, err = cluster.retort(*WAIT)
    assert f"run {run} was ended; following the equal run twin" in err
    assert err.endswith("a  SUCCEEDED\n")


def test_a_run_that_is_cancelled_while_it_is_followed_is_no_success(cluster, run):
    cluster.end(run, "RUNNING")
    at_look(cluster, 2, lambda: (cluster.kubeflow.terminate_run(None, run), cluster.end(run, "FAILED")))
    _, err = cluster.retort(*WAIT, code=1)
    assert "a  CANCELED" in err
