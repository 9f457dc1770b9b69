"""`retort rerun`: the same data, parameters and code, some stages again."""

import pytest
import yaml

from retort.pod.settings import parameter_of, settings_in

RERUN = ("rerun", "a", "--from", "ppo")


@pytest.fixture
def run(cluster):
    """A run that has ended well."""
    run = cluster.submitted()
    cluster.end(run)
    return run


def test_a_stage_and_all_after_it_run_again_with_the_same_arguments(cluster, run):
    out, _ = cluster.retort(*RERUN)
    (made,) = cluster.runs("a-from-ppo")
    assert made["run_id"] in out
    assert made["runtime_config"] == cluster.kubeflow.runs[run]["runtime_config"]
    document = next(yaml.safe_load_all((cluster.home / "runs/a-from-ppo/pipeline.yaml").read_text()))
    cached = {
        name: task.get("cachingOptions", {}).get("enableCache", False)
        for component in document["components"].values()
        for name, task in component.get("dag", {}).get("tasks", {}).items()
    }
    before = ("sft-sft", "teacher-responses", "reward-learned", "student-responses-sft")
    assert [cached[name] for name in before] == [True] * 4
    assert [cached[name] for name in ("ppo-ppo", "evaluate-ppo", "report")] == [False] * 3


def test_the_same_rerun_is_not_started_twice_and_goes_on_after_a_failure(cluster, run):
    cluster.retort(*RERUN)
    (first,) = cluster.runs("a-from-ppo")
    for state in ("RUNNING", "SUCCEEDED"):
        cluster.end(first["run_id"], state)
        _, err = cluster.retort(*RERUN, code=64)
        assert f"--name a-from-ppo: is taken by run {first['run_id']} ({state})" in err
    cluster.end(first["run_id"], "FAILED")
    cluster.retort(*RERUN)
    assert len(cluster.runs("a-from-ppo")) == 2


def test_a_run_whose_settings_are_texts_runs_again_with_them(cluster, run):
    given = cluster.kubeflow.runs[run]["runtime_config"]["parameters"]
    for name in settings_in(given):
        given[name] = cluster.s3.objects.pop(given[name].removeprefix("s3://")).decode()
    cluster.retort(*RERUN)
    (made,) = cluster.runs("a-from-ppo")
    assert made["runtime_config"]["parameters"] == given


@pytest.mark.parametrize(("content", "words"), [(None, "no such settings"), (b"{}", "are damaged in the object store")])
def test_settings_that_are_gone_or_damaged_are_said_before_anything_is_scheduled(cluster, run, content, words):
    key = cluster.kubeflow.runs[run]["runtime_config"]["parameters"][parameter_of("votes")].removeprefix("s3://")
    del cluster.s3.objects[key]
    if content is not None:
        cluster.s3.put(key, content)
    _, err = cluster.retort(*RERUN, code=65)
    assert f"s3://{key}: " in err
    assert words in err
    assert cluster.runs("a-from-ppo") == []


def test_it_can_be_followed(cluster, run):
    cluster.kubeflow.before.append(("GET /apis/v1beta1/runs/", lambda: cluster.end(cluster.runs("b")[0]["run_id"])))
    _, err = cluster.retort(*RERUN, "--name", "b", "--wait")
    assert err.endswith("b  SUCCEEDED\n")


def test_what_cannot_be_is_refused(cluster, run):
    _, err = cluster.retort("rerun", "a", "--from", "pppo", code=64)
    assert "unknown stage 'pppo'; did you mean 'ppo'?" in err
    _, err = cluster.retort(*RERUN, "--name", "x" * 64, code=64)
    assert "has 64 characters" in err
    cluster.kubeflow.runs[run]["runtime_config"] = {"parameters": {"x": "y"}}
    _, err = cluster.retort(*RERUN, code=64)
    assert "this run is none of this version of Retort" in err
    assert len(cluster.kubeflow.runs) == 1
