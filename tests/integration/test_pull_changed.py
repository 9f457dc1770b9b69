"""Pulling a run that was started in Kubeflow's interface with changed values: the workspace is what the run was."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from retort_pipelines.graph.compile import arguments
from retort_pipelines.runs.runs import pull

from retort.config import load_config
from retort.pod.run_records import Records
from retort.run import dvc_adapter, workspace

ONE = {"students": {"sft": {"method": "sft", "from": "base"}}, "rewards": {}, "teacher_responses": {"shards": [0]}}


@pytest.mark.timeout(600)
@pytest.mark.slow
def test_values_and_prompts_are_those_of_the_run_and_not_those_of_this_folder(toy):
    made = toy(**ONE, evaluate={"models": ["sft"]})
    here, read = made.home / "data/prompts.jsonl", '{"prompt": "2+2?"}\n'
    kept = here.read_text()
    here.write_text(read)
    told = load_config(made.file, changes=["sft.learning_rate=0.5"])
    pods, remote = Path("runs/pods"), str(made.home / "store")
    workspace.create(pods, told, home=Path(), remote=remote, cache=Path("runs/.pods"))
    dvc_adapter.reproduce(pods)
    lock = dvc_adapter.read_lock(pods)
    dvc_adapter.store(pods, sorted(out["path"] for one in lock.values() for out in one["outs"]))
    dvc_adapter.store(pods, ["data/prompts.jsonl"])
    Records.of(remote, "id").keep_lock(lock)
    here.write_text(kept)
    given = arguments(made.config, remote=remote, files={})
    given |= {"sft_learning_rate": 0.5, "prompts_address": "s3://exports/prompts.jsonl"}
    run = SimpleNamespace(
        state="SUCCEEDED",
        display_name="a",
        run_id="id",
        created_at=None,
        finished_at=None,
        runtime_config=SimpleNamespace(parameters=given),
    )
    for _ in range(2):  # the second finds what the first left
        root = pull(run)
        assert (root / "data/prompts.jsonl").read_text() == read
        assert dvc_adapter.status(root) == {}
        assert load_config(root / "params.yaml", root=root).settings("sft").learning_rate == 0.5
    assert here.read_text() == kept
