"""The stage of every training method: gates, further rounds, and methods that keep no promise."""

from __future__ import annotations

import json

import pytest
import torch

from retort.errors import ConfigError
from retort.io import tables
from retort.io.files import content_hash
from retort.modeling.loading import load_model
from retort.report.curves import read_curves
from retort.run.paths import Paths
from retort.run.stage import read_task, run_stage
from tests.conftest import write_responses

TOY = """
import dataclasses, shutil
from pathlib import Path
from retort.config.training import OptimizerConfig
from retort.plugins import Method

class ToyConfig(OptimizerConfig):
    steps: int = 3

@dataclasses.dataclass(frozen=True)
class Done:
    steps: int
    flops: float = 12.0

def train(training):
    {body}

METHOD = Method("toy", ToyConfig, train)
"""
COPY = "shutil.copytree(training.start, training.out); return Done(training.settings.steps)"


@pytest.fixture
def toy(training_root, monkeypatch):
    """`toy(body)`: a workspace with a student of a method of a file of its own, whose `train` has this body."""

    def make(body=COPY, name="ws", **entry):
        root = training_root.root(name)
        root.mkdir(exist_ok=True)
        (root / "toy_method.py").write_text(TOY.format(body=body))
        student = {"method": "toy_method.py:METHOD", "from": "base", **entry}
        return training_root(name, students={"toy": student})

    return make


def test_a_method_of_a_file_trains_a_student_under_its_own_stage(toy):
    root = toy(steps=5)
    assert run_stage("toy", {"student": "toy"}, root) == {"steps": 5, "flops": 12.0}
    assert content_hash(root / "outputs/models/toy") == content_hash(root / "outputs/models/base")
    assert json.loads((root / "metrics/toy-toy.json").read_text())["steps"] == 5
    assert (root / "curves/toy").is_dir()
    assert "toy_method.py" in read_task("toy", {"student": "toy"}, root)[0].sources


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return {'steps': 3}", r"method 'toy': its train returned a dict, where a dataclass of metrics is needed"),
        ("return Done", r"method 'toy': its train returned a type, where a dataclass"),
        ("pass", r"method 'toy': its train returned a NoneType"),
        ("return Done(1)", r"method 'toy': its train left no model in .*outputs/models/toy \(training\.out\)"),
    ],
    ids=["no dataclass", "the class", "nothing", "no model"],
)
def test_a_method_that_keeps_no_promise_is_refused(toy, body, words):
    root = toy(body)
    with pytest.raises(ConfigError, match=words):
        run_stage("toy", {"student": "toy"}, root)
    assert not (root / "metrics/toy-toy.json").exists()


def test_a_student_whose_reward_failed_its_gate_is_its_start_and_says_so(with_reward):
    root = with_reward(passed=False, students={"again": {"method": "ppo", "from": "base", "reward": "learned"}})
    expected = {"skipped": True, "reasons": ["rewards.learned: AUC 0.500 is below min_auc 0.75"], "flops": 0.0}
    assert run_stage("ppo", {"student": "again"}, root) == expected
    assert json.loads((root / "metrics/ppo-again.json").read_text()) == expected
    assert content_hash(root / "outputs/models/again") == content_hash(root / "outputs/models/base")
    # A table without points: without any, `dvc plots show` says that it failed to load some plots.
    assert [file.read_text() for file in (root / "curves/again").rglob("*.tsv")] == ["step\tnone\n"]
    assert read_curves(root / "curves/again") == {}


ROUNDS = {
    "students": {"ppo2": {"method": "ppo", "from": "ppo", "reward": "learned2", "iterations": 1}},
    "rewards": {
        "learned2": {
            "type": "model",
            "trunk": "ppo",
            "likelihood": ["teacher", "ppo"],
            "responses": ["teacher", "sft", "ppo"],
            "min_auc": 0.0,
            "max_calibration_error": 1.0,
            "min_per_class": 0,
            "steps": 2,
        }
    },
    "reward_data": {"balance": False},
    "student_responses": {"temperatures": [1.0], "samples": 2, "max_new_tokens": 4},
}


@pytest.mark.timeout(300)
def test_a_second_round_trains_against_a_reward_that_reads_the_first_one_s_responses(with_reward):
    root = with_reward(**ROUNDS)
    paths = Paths(root)
    write_responses(paths, range(20))  # to held-out prompts too
    run_stage("ppo", {"student": "ppo"}, root)
    for student in ("sft", "ppo"):
        run_stage("student_responses", {"student": student, "shard": "0"}, root)
    for shard in ("0", "1"):
        run_stage("reward_examples", {"reward": "learned2", "shard": shard}, root)
    run_stage("reward_data", {"reward": "learned2"}, root)
    rows = [row for split in ("train", "validation") for row in learned2(paths, split)]
    assert {row["source"] for row in rows} == {"teacher", "sft", "ppo"}
    expected = tables.read_table(paths.responses("ppo", 0), tables.RESPONSES)
    held = {row["response"] for row in rows if row["source"] == "ppo"}
    assert held <= {row["response"] for row in expected}
    # The tiny students are never right: the teacher's right and wrong ones are what is learned from.
    metrics = run_stage("reward", {"reward": "learned2"}, root)
    assert (metrics["gate_passed"], set(metrics["by_source"])) == (True, {"teacher", "sft", "ppo"})
    found = run_stage("ppo", {"student": "ppo2"}, root)
    assert (found["iterations"], found["episodes"]) == (1, 8)
    assert json.loads((root / "outputs/rewards/learned2/reward.json").read_text())["init"] == "ppo"
    first, second = (load_model(root / f"outputs/models/{name}") for name in ("ppo", "ppo2"))
    assert all(torch.isfinite(weight).all() for weight in second.parameters())
    assert first.config.to_dict().keys() == second.config.to_dict().keys()
    # Nothing of the first round was written again.
    assert (root / "metrics/ppo-ppo.json").read_text() != (root / "metrics/ppo-ppo2.json").read_text()


def learned2(paths, split):
    return tables.read_table(paths.reward_data("learned2", split), tables.REWARD_EXAMPLES)
