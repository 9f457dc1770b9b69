"""Stage `reward`: the metrics are those of prompts that chose nothing, and tables that cannot serve are refused."""

from __future__ import annotations

import json

import pytest

from retort import tables
from retort.errors import InputError
from retort.files import content_hash
from retort.paths import Paths
from retort.reward.model import RewardModel
from retort.reward.quality import measure
from retort.reward.train import held_out_part
from retort.stages.context import run_stage


def predictions(root):
    return tables.read_table(root / "outputs/models/reward/validation.parquet", tables.REWARD_PREDICTIONS)


def test_the_gate_is_measured_on_student_responses_to_prompts_that_chose_nothing(training_root):
    root = training_root()
    metrics = run_stage("reward", {}, root)
    rows = predictions(root)
    assert [row["part"] for row in rows] == [held_out_part(row["prompt_id"]) for row in rows]
    gate = [row for row in rows if row["part"] == "gate" and row["source"] == "student"]
    expected = measure([row["label"] for row in gate], [row["score"] for row in gate])
    assert metrics["n"] == len(gate) < len(rows)
    for name in ("auc", "accuracy", "brier", "calibration_error"):
        assert metrics[name] == pytest.approx(getattr(expected, name), abs=1e-6)
    assert metrics["by_source"]["student"]["auc"] == metrics["auc"]
    # The truth is known of every row here and equals the label.
    assert metrics["truth"]["n"] == 2 * len(gate)
    assert metrics["gate_passed"] == (not metrics["gate_reasons"])
    assert json.loads((root / "metrics/reward.json").read_text()) == metrics


def test_the_scores_in_the_table_are_those_of_the_saved_model(training_root):
    root = training_root(reward={"init": "teacher", "likelihood": ["teacher", "sft"]})
    run_stage("reward", {}, root)
    folders = {name: Paths(root).model(name) for name in ("teacher", "sft")}
    model = RewardModel.load(root / "outputs/models/reward", folders)
    examples = tables.read_table(Paths(root).reward_data("validation"), tables.REWARD_EXAMPLES)
    found = model.score(*([row[name] for row in examples] for name in ("prompt", "response", "finished")))
    assert found.tolist() == pytest.approx([row["score"] for row in predictions(root)], abs=1e-5)


def test_two_runs_write_the_same_bytes(training_root):
    hashes = []
    for name in ("one", "two"):
        root = training_root(name)
        run_stage("reward", {}, root)
        hashes.append([content_hash(root / part) for part in ("outputs/models/reward", "metrics", "curves")])
    assert hashes[0] == hashes[1]


def test_a_high_bar_is_not_passed_and_says_why(training_root):
    metrics = run_stage("reward", {}, training_root(reward={"min_auc": 1.0, "min_per_class": 1000}))
    assert not metrics["gate_passed"]
    few, weak = metrics["gate_reasons"]
    assert "have the rarer label, fewer than min_per_class 1000" in few
    assert weak == f"AUC {metrics['auc']:.3f} on held-out prompts is below min_auc 1.0"


@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize(("labels", "words"), [((1,), "of 1 class"), ((), "holds 0 examples of 0 class")])
def test_a_table_with_fewer_than_two_classes_is_named(training_root, split, labels, words):
    root = training_root()
    file = Paths(root).reward_data(split)
    rows = [row for row in tables.read_table(file, tables.REWARD_EXAMPLES) if row["label"] in labels]
    tables.write_table(file, rows, tables.REWARD_EXAMPLES)
    with pytest.raises(InputError, match=rf"{split}\.parquet, field 'label': .*{words}.* Sample more responses"):
        run_stage("reward", {}, root)
    assert not (root / "outputs/models/reward").exists()


def test_examples_that_are_all_too_long_name_the_setting(training_root):
    with pytest.raises(
        InputError, match=r"train\.parquet, .*no example of at most 8 tokens\. Raise reward\.max_length"
    ):
        run_stage("reward", {}, training_root(reward={"max_length": 8}))


@pytest.mark.parametrize(("part", "words"), [("select", "measure the gate on"), ("gate", "choose the step by")])
def test_too_few_held_out_prompts_are_refused_before_training(training_root, part, words):
    root = training_root()
    file = Paths(root).reward_data("validation")
    rows = [row for row in tables.read_table(file, tables.REWARD_EXAMPLES) if held_out_part(row["prompt_id"]) == part]
    tables.write_table(file, rows, tables.REWARD_EXAMPLES)
    with pytest.raises(
        InputError, match=rf"validation\.parquet, .*leaves no prompt to {words}\. Hold more prompts out"
    ):
        run_stage("reward", {}, root)
    assert not (root / "curves/reward").exists()
