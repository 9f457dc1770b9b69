"""What Kubeflow's interface shows of what a task made: figures, names, addresses and hashes, as a pod tells it."""

import json
from pathlib import Path

import pytest
from kfp import dsl

from retort.config import load_config
from retort.pod.artifacts import NAME, describe, measure
from retort.pod.settings import GroupSettings, settings
from retort.run.tasks import graph

REMOTE = "s3://bucket/store"


@pytest.fixture
def as_told():
    """A task as a pod knows it: from its settings, which leave out what decides no result."""
    config = load_config(Path("smoke"))
    groups = graph(config).groups

    def task(group, item=""):
        told = settings(config, groups[group], {}, remote=REMOTE).to_json()
        return GroupSettings.from_json(told).task(item)

    return task


def measured(root, task, **figures):
    (path,) = task.metrics
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(json.dumps(figures))


def entry_of(task):
    """An entry of the lock: hashes `a0`, `a1` ... with five bytes of each."""
    paths = [*task.outs, *task.metrics]
    outs = [{"path": path, "md5": f"a{number}", "size": 5} for number, path in enumerate(paths)]
    return {"outs": outs, "deps": [{"path": "outputs/prompts", "md5": "d0"}]}


def test_a_model_has_the_figures_of_its_task(as_told, tmp_path):
    task, model = as_told("ppo-ppo"), dsl.Model()
    measured(tmp_path, task, iterations=8, best_agreement=0.24, by_source={"teacher": 1.0}, skipped=False, reasons=[])
    describe(model, tmp_path, task, entry_of(task), REMOTE)
    assert model.metadata["iterations"] == 8
    assert model.metadata["best_agreement"] == 0.24
    assert not any("by_source" in name for name in model.metadata)  # the Metrics artifact has the details


def test_it_is_called_as_what_it_is_and_says_where_it_lies_and_what_it_was_made_from(as_told, tmp_path):
    task, model = as_told("ppo-ppo"), dsl.Model()
    measured(tmp_path, task, iterations=8)
    describe(model, tmp_path, task, entry_of(task), REMOTE)
    assert model.metadata[NAME] == "models/ppo"
    assert model.uri == "dvc+s3://bucket/store/files/md5/a0/"
    assert model.metadata["outputs/models/ppo"] == "a0"
    assert model.metadata["address of outputs/models/ppo"] == "s3://bucket/store/files/md5/a0/"
    assert model.metadata["task"] == "ppo-ppo"
    assert model.metadata["bytes"] == 5  # of the model: figures are no part of it
    assert json.loads(model.metadata["made from"]) == {"outputs/prompts": "d0"}


def test_one_that_holds_several_outputs_names_all_of_them(as_told, tmp_path):
    task, data = as_told("prompts"), dsl.Dataset()
    measured(tmp_path, task, train=3)
    describe(data, tmp_path, task, entry_of(task), REMOTE)
    assert data.metadata[NAME] == "prompts, unlabelled"


def test_shards_have_names_of_their_own(as_told, tmp_path):
    names = []
    for item in ("0", "1"):
        task, data = as_told("teacher_responses", item), dsl.Dataset()
        measured(tmp_path, task, responses=3)
        describe(data, tmp_path, task, entry_of(task), REMOTE)
        names.append(data.metadata[NAME])
    assert names == ["teacher_responses/shard-0.parquet", "teacher_responses/shard-1.parquet"]


def test_metrics_are_the_tasks_figures_and_nothing_else(as_told, tmp_path):
    task, metrics = as_told("ppo-ppo"), dsl.Metrics()
    measured(tmp_path, task, iterations=8, by_source={"teacher": 0.5}, reasons=["x"])
    measure(metrics, tmp_path, task)
    assert metrics.metadata == {NAME: "metrics/ppo-ppo", "iterations": 8.0, "by_source.teacher": 0.5}
