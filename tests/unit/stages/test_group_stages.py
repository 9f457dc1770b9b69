"""Stages `grpo` and `rloo`: the reward rises, a reward that is no number is refused, they resume."""

from __future__ import annotations

import json

import pytest

from retort.errors import ConfigError, InterruptionError, TrainingError
from retort.io.files import content_hash
from retort.modeling import preemption
from retort.modeling.loading import load_model
from retort.run.stage import run_stage
from retort.trainers.shared import course

METHODS = ["grpo", "rloo"]
QUICK = {
    "iterations": 6,
    "prompts_per_iteration": 4,
    "responses_per_prompt": 4,
    "max_new_tokens": 12,
    "learning_rate": 1e-2,
    "evaluate_every": 2,
    "checkpoint_every": 2,
}
REWARD = """
def score(prompts, responses, finished):
    return [sum(sign.isdigit() for sign in response) / 4 for response in responses]
"""


@pytest.fixture
def root(training_root):
    """`root(method, name, reward=..., **settings)`: a workspace with a student against a function of the project."""

    def make(method, name="ws", *, reward=REWARD, entry=None, **settings):
        folder = training_root.root(name)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "my_reward.py").write_text(reward)
        return training_root(
            name,
            students={
                "rl": {"method": method, "from": "sft", "reward": "mine"} | (entry or {}),
                "sft2": {"method": "sft", "from": "base"},
            },
            rewards={"mine": {"type": "function", "path": "my_reward.py:score"}},
            **{method: QUICK | settings},
        )

    return make


def course_of(root, figure):
    lines = (root / f"curves/rl/plots/metrics/{figure}.tsv").read_text().splitlines()[1:]
    return [float(line.split("\t")[1]) for line in lines]


@pytest.mark.parametrize("method", METHODS)
def test_the_reward_rises_and_the_metrics_say_what_was_done(root, method):
    made = root(method, iterations=25, keep="last", missing_eos_penalty=0.0, beta=0.0, checkpoint_every=25)
    metrics = run_stage(method, {"student": "rl"}, made)
    rewards = course_of(made, "reward")
    assert len(rewards) == 25
    assert sum(rewards[-5:]) / 5 > sum(rewards[:5]) / 5 + 0.3
    assert (metrics["iterations"], metrics["episodes"], metrics["stopped_early"]) == (25, 25 * 16, False)
    assert metrics["first_agreement"] is None
    assert metrics["best_iteration"] == 25
    assert metrics["flops"] > 8 * 9808 * metrics["tokens"] * 0.99
    assert load_model(made / "outputs/models/rl").config.model_type == "llama"


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dies", [3, 6])
def test_a_killed_training_that_is_started_again_equals_an_uninterrupted_one(root, method, monkeypatch, dies):
    shape = {"beta": 0.1, "minibatch_size": 8, "epochs": 2, "evaluate_temperature": 1.0}
    whole, killed = root(method, "whole", **shape), root(method, "killed", **shape)
    run_stage(method, {"student": "rl"}, whole)
    honest, seen = course.Progress.update, []

    def update(self, count=1, **figures):
        seen.append(count)
        if sum(seen) == dies:
            raise KeyboardInterrupt
        honest(self, count, **figures)

    monkeypatch.setattr(course.Progress, "update", update)
    with pytest.raises(KeyboardInterrupt):
        run_stage(method, {"student": "rl"}, killed)
    monkeypatch.setattr(course.Progress, "update", honest)
    state = killed / f".retort/state/{method}-rl"
    # Four optimizer steps an iteration; a checkpoint every two iterations.
    assert (state / "checkpoints/checkpoint-8/trainer_state.json").exists()
    run_stage(method, {"student": "rl"}, killed)
    for part in ("outputs/models/rl", f"metrics/{method}-rl.json", "curves/rl"):
        assert content_hash(killed / part) == content_hash(whole / part), part


def test_who_is_told_to_go_ends_the_iteration_first_and_loses_none(root, monkeypatch):
    shape = {"minibatch_size": 8, "checkpoint_every": 100}
    whole, told = root("grpo", "whole", **shape), root("grpo", "told", **shape)
    run_stage("grpo", {"student": "rl"}, whole)
    honest, seen = course.Progress.update, []

    def update(self, count=1, **figures):
        seen.append(count)
        if len(seen) == 5:  # after the first of two updates of the third iteration
            monkeypatch.setattr(preemption, "_asked", True)
        honest(self, count, **figures)

    monkeypatch.setattr(course.Progress, "update", update)
    with pytest.raises(InterruptionError):
        run_stage("grpo", {"student": "rl"}, told)
    monkeypatch.setattr(course.Progress, "update", honest)
    monkeypatch.setattr(preemption, "_asked", False)
    saved = [one.parent.name for one in told.glob(".retort/state/grpo-rl/checkpoints/*/trainer_state.json")]
    assert saved == ["checkpoint-6"]
    run_stage("grpo", {"student": "rl"}, told)
    for part in ("outputs/models/rl", "metrics/grpo-rl.json", "curves/rl"):
        assert content_hash(told / part) == content_hash(whole / part), part


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("returned", "words"),
    [
        ("[float('nan')] * len(responses)", r"rewards\.mine: scored nan for the response '.*' to the prompt '\d+ \+ "),
        ("[1.0]", r"rewards\.mine: scored 16 responses by a tensor of shape \(1,\)"),
        ("None", r"rewards\.mine: my_reward\.py:score failed on 16 responses"),
    ],
)
def test_a_reward_that_is_no_finite_number_names_the_response_and_leaves_no_student(root, method, returned, words):
    made = root(method, reward=f"def score(prompts, responses, finished):\n    return {returned}\n")
    with pytest.raises(TrainingError, match=words):
        run_stage(method, {"student": "rl"}, made)
    assert not (made / "outputs/models/rl").exists()


@pytest.mark.parametrize("method", METHODS)
def test_the_student_that_agreed_best_with_the_vote_is_kept_and_training_ends_when_it_no_longer_does(root, method):
    # Nothing that is rewarded here makes an answer right: the start stays the best.
    made = root(method, iterations=20, patience=2, evaluate_every=1)
    metrics = run_stage(method, {"student": "rl"}, made)
    assert (metrics["best_iteration"], metrics["iterations"], metrics["stopped_early"]) == (0, 2, True)
    before, after = (load_model(made / f"outputs/models/{name}").state_dict() for name in ("sft", "rl"))
    assert all(bool(before[name].equal(after[name])) for name in before)
    assert course_of(made, "agreement") == [metrics["first_agreement"]] * 3


@pytest.mark.parametrize("method", METHODS)
def test_adapters_alone_are_trained_and_a_whole_model_comes_out(root, method):
    made = root(method, lora={"rank": 2, "alpha": 8}, keep="last", beta=0.1, learning_rate=0.1)
    run_stage(method, {"student": "rl"}, made)
    before, after = (load_model(made / f"outputs/models/{name}").state_dict() for name in ("sft", "rl"))
    assert before.keys() == after.keys()
    assert any(not bool(before[name].equal(after[name])) for name in before)


@pytest.mark.parametrize("method", METHODS)
def test_another_student_s_compute_buys_iterations_until_it_is_spent(training_root, root, method):
    plain = run_stage(method, {"student": "rl"}, root(method, "plain", iterations=2, keep="last"))
    made = root(method, "more", entry={"compute_of": "sft2"}, iterations=2, keep="last")
    (made / "metrics").mkdir(exist_ok=True)
    (made / "metrics/sft-sft2.json").write_text(json.dumps({"flops": 1.5 * plain["flops"]}))
    metrics = run_stage(method, {"student": "rl"}, made)
    # Two iterations of its own, and as many as bring it to the compute of both.
    assert 2.5 * plain["flops"] <= metrics["flops"] < 2.5 * plain["flops"] * (1 + 1 / metrics["iterations"] + 0.2)
    assert metrics["iterations"] in (5, 6)
    assert (metrics["extra_iterations"], metrics["capped"]) == (metrics["iterations"] - 2, False)


@pytest.mark.parametrize("most", [1, 2])
def test_a_bound_that_keeps_it_below_that_compute_is_said(root, most):
    made = root("grpo", "bound", entry={"compute_of": "sft2", "max_extra_steps": most}, iterations=2, keep="last")
    (made / "metrics").mkdir(exist_ok=True)
    (made / "metrics/sft-sft2.json").write_text(json.dumps({"flops": 1e15}))
    metrics = run_stage("grpo", {"student": "rl"}, made)
    assert (metrics["iterations"], metrics["extra_iterations"], metrics["capped"]) == (2 + most, most, True)


def test_a_student_that_is_sampled_while_it_trains_cannot_be_sharded(root):
    with pytest.raises((ConfigError, ValueError), match=r"cannot be sharded; take lora"):
        root("grpo", sharding="full_shard")
