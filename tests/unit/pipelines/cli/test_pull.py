"""`retort pull` and then `retort promote`: what a run made comes here, whole or not at all."""

import shutil
from pathlib import Path

import pytest
from retort_pipelines.runs import runs
from retort_pipelines.runs.client import kubeflow

from retort.config import load_config
from retort.errors import RetortError
from retort.pod.run_records import Records
from retort.run import dvc_adapter, workspace
from tests.kubeflow_server.cluster import STORE


@pytest.fixture
def run(cluster):
    """A run that has ended well: its stages ran here, and everything is in the store as pods would leave it."""
    run = cluster.submitted()
    made = Path("runs/pods")
    workspace.create(made, load_config(Path("toy.yaml")), home=Path(), remote=STORE, cache=Path("runs/.pods"))
    dvc_adapter.reproduce(made)
    dvc_adapter.store(
        made, sorted({out["path"] for one in dvc_adapter.read_lock(made).values() for out in one["outs"]})
    )
    records = Records.of(STORE, run)
    records.keep_lock(dvc_adapter.read_lock(made))
    records.keep_timing({"task": "evaluate-ppo-heldout", "seconds": 1.0, "pod_seconds": 2.0})
    cluster.end(run)
    return run


@pytest.mark.slow
def test_everything_that_a_run_made_comes_into_a_clean_workspace(cluster, run):
    out, _ = cluster.retort("pull", "a")
    assert out.split("\n") == ["runs/a", "retort show a", ""]  # a list shows what a terminal hides
    report = "outputs/report/content.txt"
    assert (cluster.home / "runs/a" / report).read_bytes() == (cluster.home / "runs/pods" / report).read_bytes()
    assert dvc_adapter.read_lock(Path("runs/a")) == dvc_adapter.read_lock(Path("runs/pods"))
    assert dvc_adapter.status(Path("runs/a")) == {}
    assert (cluster.home / "runs/a/.retort/timings/evaluate-ppo-heldout.json").exists()
    # What the store has lost is said, and no half of a run is taken for a whole one.
    shutil.rmtree("runs/a")
    shutil.rmtree("runs/.cache", ignore_errors=True)
    entry = next(out for out in Records.of(STORE, run).lock()["report"]["outs"] if out["path"] == "outputs/report")
    del cluster.s3.objects[f"bucket/store/files/md5/{entry['md5'][:2]}/{entry['md5'][2:]}"]
    with pytest.raises(RetortError):
        runs.pull(runs.find(kubeflow(), "a"))


@pytest.mark.parametrize("state", ["RUNNING", "FAILED"])
def test_a_run_that_has_not_ended_well_is_refused_with_its_state(cluster, state):
    cluster.end(cluster.submitted(), state)
    _, err = cluster.retort("pull", "a", code=64)
    assert f"run a is {state}, so there is nothing whole to fetch" in err
    assert not (cluster.home / "runs/a/dvc.lock").exists()


def test_a_run_without_a_record_says_where_to_look(cluster):
    cluster.end(cluster.submitted())
    _, err = cluster.retort("pull", "a", code=65)
    assert "the run did not end well, or used another object store" in err


def test_promote_of_a_run_that_was_not_fetched_says_how(cluster):
    _, err = cluster.retort("promote", "a", code=64)
    assert "`retort pull RUN` fetches one of a cluster" in err
