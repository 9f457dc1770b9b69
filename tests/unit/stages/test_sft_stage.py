"""Stages `sft` and `sft_equal_compute`: what is read, what comes out, and what PPO's compute buys."""

from __future__ import annotations

import json

import pytest

from retort.errors import InputError
from retort.io import tables
from retort.io.files import content_hash
from retort.modeling.loading import load_model
from retort.run.paths import Paths
from retort.run.stage import run_stage


def test_the_student_is_taught_the_agreeing_response_of_every_training_prompt(training_root):
    root = training_root()
    metrics = run_stage("sft", {}, root)
    # Twelve training prompts, one of two responses right; those to validation prompts are no training data.
    assert metrics["trained"]["examples"] == 12
    assert (metrics["trained"]["steps"], metrics["extra_steps"], metrics["capped"]) == (3, 0, False)
    assert json.loads((root / "metrics/sft.json").read_text()) == metrics
    assert (root / "curves/sft/plots/metrics/loss.tsv").exists()
    before, after = (next(load_model(root / f"outputs/models/{n}").parameters()) for n in ("base", "sft"))
    assert not before.equal(after)
    assert not (root / ".retort/state/sft").exists()


def test_two_runs_write_the_same_bytes(training_root):
    hashes = []
    for name in ("one", "two"):
        root = training_root(name)
        run_stage("sft", {}, root)
        hashes.append([content_hash(root / part) for part in ("outputs/models/sft", "metrics", "curves")])
    assert hashes[0] == hashes[1]


def test_when_no_response_agrees_the_table_of_votes_is_named_and_the_old_student_kept(training_root):
    root = training_root()
    before = content_hash(root / "outputs/models/sft")
    votes = tables.read_table(Paths(root).votes, tables.VOTES)
    tables.write_table(Paths(root).votes, [vote | {"label": "-1"} for vote in votes], tables.VOTES)
    with pytest.raises(InputError, match=r"votes\.parquet, field 'label': no teacher response .* metrics/votes\.json"):
        run_stage("sft", {}, root)
    assert content_hash(root / "outputs/models/sft") == before


def equal_compute(root, *, ppo_flops):
    (root / "metrics").mkdir(exist_ok=True)
    (root / "metrics/ppo.json").write_text(json.dumps({"flops": ppo_flops}))
    (root / "metrics/sft.json").write_text(json.dumps({"trained": {"flops": 300.0, "steps": 3}}))
    return run_stage("sft_equal_compute", {}, root)


def test_ppo_s_compute_buys_as_many_more_steps_as_it_costs(training_root):
    # SFT cost 100 a step, PPO 220: 2.2 steps, rounded to 2 beyond the warm-up's 3.
    metrics = equal_compute(training_root(), ppo_flops=220.0)
    assert (metrics["extra_steps"], metrics["capped"], metrics["trained"]["steps"]) == (2, False, 5)


def test_the_bound_on_extra_steps_is_said(training_root):
    metrics = equal_compute(training_root(sft_equal_compute={"max_extra_steps": 1}), ppo_flops=220.0)
    assert (metrics["extra_steps"], metrics["capped"], metrics["trained"]["steps"]) == (1, True, 4)


def test_a_skipped_ppo_buys_nothing(training_root):
    metrics = equal_compute(training_root(), ppo_flops=0.0)
    assert (metrics["extra_steps"], metrics["capped"], metrics["trained"]["steps"]) == (0, False, 3)


def test_a_baseline_that_is_turned_off_leaves_empty_outputs(training_root):
    root = training_root(sft_equal_compute={"enabled": False})
    assert run_stage("sft_equal_compute", {}, root) == {"trained": None, "extra_steps": 0, "capped": False}
    assert list((root / "outputs/models/sft_equal_compute").iterdir()) == []
