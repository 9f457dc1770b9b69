"""`retort submit` against a stand-in Kubeflow: what is started, what is not, and what a user is told."""

import json
import re
import threading

import pytest
from retort_pipelines.runs import names, submit
from retort_pipelines.runs.client import kubeflow

import retort.cli.check
from retort.cli.check import before_submit
from retort.pod.settings import parameter_of, settings_in
from tests.kubeflow_server.cluster import PREFIX, STORE

TOY = ("--config", "toy.yaml", "--name", "a")


def test_a_run_is_scheduled_with_its_arguments_and_what_it_reads_is_in_the_store(cluster):
    said = cluster.json("submit", *TOY)
    (run,) = cluster.runs("a")
    assert said == {
        "name": "a",
        "run_id": run["run_id"],
        "link": f"{cluster.kubeflow.address}/#/runs/details/{run['run_id']}",
        "new": True,
        "state": "PENDING",
    }
    assert run["service_account"] == "pipeline-runner"
    given = run["runtime_config"]["parameters"]
    addresses = settings_in(given).values()
    assert len(addresses) > 5
    assert all(re.fullmatch(rf"{STORE}/settings/[0-9a-f]{{64}}", one) for one in addresses)
    assert all(one.removeprefix("s3://") in cluster.s3.objects for one in addresses)
    assert (given["sft_learning_rate"], given["prompts_limit"], given["prompts_address"]) == (1e-4, 0, "")
    assert any(name.startswith("bucket/store/files/md5/") for name in cluster.s3.objects)


def test_the_default_name_is_the_configurations_with_a_hash(cluster):
    name = cluster.json("submit", "--config", "toy.yaml")["name"]
    assert name.startswith("toy-")
    assert len(cluster.runs(name)) == 1


def test_what_tasks_are_told_is_in_the_store_before_the_run_is_created(cluster):
    seen = []
    cluster.kubeflow.before.append(
        ("POST /apis/v2beta1/runs$", lambda: seen.extend(key for key in cluster.s3.objects if "/settings/" in key))
    )
    cluster.json("submit", *TOY)
    given = cluster.runs("a")[0]["runtime_config"]["parameters"]
    assert {value.removeprefix("s3://") for value in settings_in(given).values()} == set(seen)


def test_a_store_whose_address_holds_a_password_is_refused_without_saying_it(cluster):
    _, err = cluster.retort("submit", *TOY, "--remote", "s3://key:hidden@bucket/store", code=64)
    assert "the object store's address holds a password" in err
    assert "hidden" not in err


def with_texts(cluster, run_id):
    """Let a run have its settings as their texts, as of old, from before a collection."""
    given = cluster.kubeflow.runs[run_id]["runtime_config"]["parameters"]
    for name in settings_in(given):
        text = cluster.s3.objects[given[name].removeprefix("s3://")].decode()
        given[name] = text[:-1] + ', "generation": 2}'
    return given


@pytest.mark.parametrize("changed", [False, True])
def test_an_equal_run_whose_settings_are_texts_or_of_before_a_collection_is_the_same(cluster, changed):
    run_id = cluster.submitted()
    given = with_texts(cluster, run_id)
    if changed:
        votes = parameter_of("votes")
        given[votes] = given[votes].replace("votes", "vetos")
        _, err = cluster.retort("submit", *TOY, code=64)
        assert "is taken by a run with other parameters" in err
    else:
        assert cluster.json("submit", *TOY)["run_id"] == run_id
    assert len(cluster.runs("a")) == 1


def test_an_equal_run_that_is_under_way_is_not_started_twice(cluster):
    first = cluster.submitted()
    out, err = cluster.retort("submit", *TOY)
    assert first in out
    assert "is under way, nothing was started" in err
    assert len(cluster.runs("a")) == 1


def test_an_equal_run_that_has_ended_well_is_reported_with_its_state(cluster):
    first = cluster.submitted()
    cluster.end(first)
    said = cluster.json("submit", *TOY)
    assert (said["run_id"], said["new"], said["state"]) == (first, False, "SUCCEEDED")
    _, err = cluster.retort("submit", *TOY, "--wait")
    assert "has ended well already (SUCCEEDED)" in err
    assert len(cluster.runs("a")) == 1


@pytest.mark.parametrize("cancelled", [False, True])
def test_the_same_command_goes_on_after_a_run_that_failed_or_was_cancelled(cluster, cancelled):
    first = cluster.submitted()
    if cancelled:
        cluster.retort("cancel", "a")
    cluster.end(first, "FAILED")
    out, err = cluster.retort("submit", *TOY)
    old, new = cluster.runs("a")
    assert new["run_id"] in out
    assert old["runtime_config"] == new["runtime_config"]  # so that what was made is remembered
    assert f"the run before ended {'CANCELED' if cancelled else 'FAILED'}; this one goes on" in err
    cluster.retort("submit", *TOY)
    assert len(cluster.runs("a")) == 2


def test_a_name_is_refused_while_another_run_has_it_and_free_when_that_has_failed(cluster):
    first = cluster.submitted()
    for state in ("RUNNING", "SUCCEEDED"):
        cluster.end(first, state)
        _, err = cluster.retort("submit", *TOY, "--set", "seed=9", code=64)
        assert f"--name a: is taken by a run with other parameters, data or code: {cluster.kubeflow.address}" in err
    cluster.end(first, "FAILED")
    assert cluster.json("submit", *TOY, "--set", "seed=9")["new"]


def rival(cluster, *, after, changes=()):
    """A run of the same name that is created just before the server answers the request `after`."""
    other = cluster.json("submit", *TOY[:2], "--name", "other", *changes)["run_id"]
    twin = dict(cluster.kubeflow.runs.pop(other))

    def create():
        twin.update(display_name="a", created_at=cluster.kubeflow._now())
        cluster.kubeflow.runs[other] = twin

    cluster.kubeflow.before.append((after, create))
    return other


@pytest.mark.parametrize("first", ["mine", "theirs"])
def test_of_two_equal_runs_at_once_one_is_left_whoever_saw_whom(cluster, first):
    theirs = rival(cluster, after="GET /apis/v2beta1/runs/mine$")
    # Both in one second: their ids decide, and "mine" is before "z" and after "0".
    other = {"mine": "z", "theirs": "0"}[first]
    cluster.kubeflow.workflows[other] = cluster.kubeflow.workflows.pop(theirs)
    twin = cluster.kubeflow.before.pop()

    def create():
        twin[1]()
        run = cluster.kubeflow.runs.pop(theirs)
        cluster.kubeflow.runs[other] = run | {"run_id": other, "created_at": cluster.runs("a")[0]["created_at"]}

    cluster.kubeflow.before.append((twin[0], create))
    cluster.kubeflow.ids[:] = ["mine"]
    said = cluster.json("submit", *TOY)
    live = [run["run_id"] for run in cluster.runs("a") if run["state"] == "PENDING"]
    assert live == [said["run_id"]] == [{"mine": "mine", "theirs": "0"}[first]]
    assert said["new"] == (first == "mine")


def test_the_later_of_two_equal_runs_yields(cluster):
    early = cluster.kubeflow.runs[cluster.submitted()]
    early["created_at"] = "2026-01-01T00:00:00Z"
    late = cluster.kubeflow.create_run(request_like(early))
    given = early["runtime_config"]["parameters"]
    assert names.settled(kubeflow(), late["run_id"], "a", given) == early["run_id"]
    assert [run["state"] for run in cluster.runs("a")] == ["PENDING", "CANCELING"]


def request_like(run):
    from tests.kubeflow_server.http import Request

    body = {key: value for key, value in run.items() if key not in ("run_id", "created_at", "state")}
    return Request("POST", "", {}, {}, json.dumps(body).encode())


def test_a_name_taken_at_the_same_moment_by_another_run_is_left_to_it(cluster):
    theirs = rival(cluster, after="GET /apis/v2beta1/runs/mine$", changes=("--set", "seed=9"))
    cluster.kubeflow.ids[:] = ["mine"]
    _, err = cluster.retort("submit", *TOY, code=64)
    assert "was taken at the same moment by a run with other parameters" in err
    assert {run["run_id"]: run["state"] for run in cluster.runs("a")} == {"mine": "CANCELING", theirs: "PENDING"}


def test_many_submissions_at_once_leave_one_run(cluster):
    run, where = cluster.kubeflow.runs.pop(cluster.submitted()), kubeflow()
    given, gate = run["runtime_config"]["parameters"], threading.Barrier(8)
    left = []

    def one():
        gate.wait()
        made = cluster.kubeflow.create_run(request_like(run))["run_id"]
        left.append(names.settled(where, made, "a", given))

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    live = [run["run_id"] for run in cluster.runs("a") if run["state"] == "PENDING"]
    assert len(live) == 1
    assert live[0] in left


def test_a_run_that_was_created_before_the_answer_was_lost_is_found_and_not_made_again(cluster):
    run = cluster.kubeflow.runs.pop(cluster.submitted())
    cluster.kubeflow.before.append(("POST /apis/v2beta1/runs$", lambda: cluster.kubeflow.create_run(request_like(run))))
    cluster.kubeflow.refuse("POST /apis/v2beta1/runs$", 503, "upstream connect error", times=1)
    said = cluster.json("submit", *TOY)
    assert [one["run_id"] for one in cluster.runs("a")] == [said["run_id"]]


def test_a_run_that_kubeflow_did_not_take_is_said_and_not_counted(cluster):
    cluster.kubeflow.refuse("POST /apis/v2beta1/runs$", 503, "no healthy upstream")
    _, err = cluster.retort("submit", *TOY, code=69)
    assert "answered 503 (no healthy upstream)" in err
    assert cluster.runs("a") == []


def test_the_experiment_that_somebody_else_makes_at_the_same_moment_is_used(cluster):
    made = {"experiment_id": "e", "display_name": "retort", "created_at": "2026-01-01T00:00:00Z"}
    cluster.kubeflow.before.append(
        ("POST /apis/v2beta1/experiments", lambda: cluster.kubeflow.experiments.update(e=made))
    )
    cluster.json("submit", *TOY)
    assert cluster.runs("a")[0]["experiment_id"] == "e"


def test_in_multi_user_mode_runs_are_kept_in_the_profiles_namespace(stand_in):
    cluster = stand_in(multi_user=True)
    cluster.json("submit", *TOY)
    (group,) = cluster.kubeflow.experiments.values()
    assert group["namespace"] == "retort"
    assert cluster.json("submit", *TOY)["new"] is False


def test_more_shards_than_a_workflow_can_hold_are_refused_with_the_figure(cluster):
    shards = f"teacher_responses.shards={list(range(200))}"
    _, err = cluster.retort("submit", *TOY, "--set", shards, code=64)
    assert "200 of them of teacher_responses: its workflow would grow to about" in err
    assert "Make fewer, larger shards" in err
    assert cluster.runs("a") == []


def test_what_is_missing_is_said_before_anything_is_scheduled(cluster):
    del cluster.kubernetes.objects[f"{PREFIX}/serviceaccounts/pipeline-runner"]
    _, err = cluster.retort("submit", *TOY, code=69)
    assert "nothing was scheduled" in err
    assert "no pipeline-runner in retort" in err
    assert cluster.runs("a") == []
    assert cluster.json("submit", *TOY, "--no-check")["new"]


def test_wrong_keys_of_the_pods_are_refused_before_anything_is_scheduled(cluster):
    cluster.s3.access_key = "another"
    _, err = cluster.retort("submit", *TOY, code=69)
    assert "Correct secret retort-store" in err
    assert cluster.runs("a") == []


def test_a_missing_source_file_is_refused(cluster):
    (cluster.home / "data/prompts.jsonl").unlink()
    _, err = cluster.retort("submit", *TOY, code=65)
    assert "data/prompts.jsonl" in err


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("RETORT_KFP_HOST", "", "Set RETORT_KFP_HOST"),
        ("RETORT_KFP_HOST", "kfp:8080", "Begin it with http://"),
        ("RETORT_REMOTE", "", "Set RETORT_REMOTE"),
        ("RETORT_REMOTE", "/mnt/store", "is a folder of this machine"),
        ("RETORT_KFP_TOKEN_FILE", "/never/there", "RETORT_KFP_TOKEN_FILE=/never/there: cannot be read"),
    ],
)
def test_a_wrong_environment_is_refused(cluster, monkeypatch, variable, value, words):
    monkeypatch.setenv(variable, value)
    _, err = cluster.retort("submit", *TOY, code=64)
    assert words in err


def test_an_old_kubeflow_and_something_else_that_answers_are_refused(cluster):
    cluster.kubeflow.version = "2.3.0"
    _, err = cluster.retort("submit", *TOY, code=69)
    assert "Kubeflow Pipelines 2.3.0 lacks what the pipeline needs" in err
    cluster.patch.setenv("RETORT_KFP_HOST", cluster.s3.url)
    cluster.s3.access_key = None
    _, err = cluster.retort("submit", *TOY, code=69)
    assert "answered 404" in err


def test_a_token_that_is_refused_is_said(stand_in):
    cluster = stand_in(token="fresh")
    _, err = cluster.retort("submit", *TOY, code=69)
    assert "Put a fresh one into RETORT_KFP_TOKEN" in err
    file = cluster.home / "token"
    file.write_text("fresh\n")
    cluster.patch.setenv("RETORT_KFP_TOKEN_FILE", str(file))
    assert cluster.json("submit", *TOY)["new"]


def test_a_kubeflow_that_is_away_is_said_at_once(cluster):
    with cluster.kubeflow.away():
        _, err = cluster.retort("submit", *TOY, code=69)
    assert "Kubeflow Pipelines does not answer" in err


def test_names_and_arguments_are_refused_before_anything_is_asked(cluster):
    _, err = cluster.retort("submit", *TOY[:2], "--name", "Big_Run", code=64)
    assert "use lower-case letters" in err
    assert cluster.kubeflow.asked == []
    assert submit.LONGEST_NAME == 63


def test_what_stages_would_refuse_is_refused_before_anything_is_sent(cluster, monkeypatch):
    monkeypatch.setattr(retort.cli.check, "before_submit", before_submit)
    _, err = cluster.retort("submit", *TOY, code=64)
    assert "error    toy.yaml: prompts: prompts.validation asks for 200 prompts, but only 1 are left" in err
    assert "error    toy.yaml: models.base.source: data/student: holds no *.safetensors weights" in err
    assert "would stop the run, so nothing was started" in err
    assert cluster.runs("a") == []
    assert cluster.s3.objects == {}
