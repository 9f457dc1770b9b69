"""Stage `sft`: what is read, what comes out, and what another student's compute buys."""

from __future__ import annotations

import json

import pytest

from retort.errors import InputError
from retort.io import tables
from retort.io.files import content_hash
from retort.modeling.loading import load_model
from retort.run.paths import Paths
from retort.run.stage import run_stage

SFT = {"student": "sft"}


def test_the_student_is_taught_the_agreeing_response_of_every_training_prompt(training_root):
    root = training_root()
    metrics = run_stage("sft", SFT, root)
    # Twelve training prompts, one of two responses right; those to validation prompts are no training data.
    assert metrics["examples"] == 12
    assert (metrics["steps"], metrics["extra_steps"], metrics["capped"]) == (3, 0, False)
    assert json.loads((root / "metrics/sft-sft.json").read_text()) == metrics
    assert (root / "curves/sft/plots/metrics/loss.tsv").exists()
    before, after = (next(load_model(root / f"outputs/models/{n}").parameters()) for n in ("base", "sft"))
    assert not before.equal(after)
    assert not (root / ".retort/state/sft-sft").exists()


def test_two_runs_write_the_same_bytes(training_root):
    hashes = []
    for name in ("one", "two"):
        root = training_root(name)
        run_stage("sft", SFT, root)
        hashes.append([content_hash(root / part) for part in ("outputs/models/sft", "metrics", "curves")])
    assert hashes[0] == hashes[1]


def test_when_no_response_agrees_the_table_of_votes_is_named_and_the_old_student_kept(training_root):
    root = training_root()
    before = content_hash(root / "outputs/models/sft")
    votes = tables.read_table(Paths(root).votes, tables.VOTES)
    tables.write_table(Paths(root).votes, [vote | {"label": "-1"} for vote in votes], tables.VOTES)
    with pytest.raises(InputError, match=r"votes\.parquet, field 'label': no teacher response .* metrics/votes\.json"):
        run_stage("sft", SFT, root)
    assert content_hash(root / "outputs/models/sft") == before


@pytest.fixture
def equal_compute(training_root):
    """`equal_compute(share, **entry)`: a baseline where PPO cost `share` of three steps of SFT; and what it cost."""

    def make(share, **entry):
        more = {"method": "sft", "from": "base", "compute_of": "ppo", **entry}
        root = training_root(students={"sft_more": more})
        plain = run_stage("sft", SFT, root)
        assert plain["steps"] == 3
        metrics = {"flops": share * plain["flops"]} if share else {"skipped": True, "reasons": ["no"], "flops": 0.0}
        (root / "metrics/ppo-ppo.json").write_text(json.dumps(metrics))
        return run_stage("sft", {"student": "sft_more"}, root)

    return make


def test_ppo_s_compute_buys_as_many_more_steps_as_it_costs(equal_compute):
    # 0.75 of three steps are 2.25 steps: rounded to 2.
    metrics = equal_compute(0.75)
    assert (metrics["extra_steps"], metrics["capped"], metrics["steps"]) == (2, False, 5)


def test_the_bound_on_extra_steps_is_said(equal_compute):
    metrics = equal_compute(0.75, max_extra_steps=1)
    assert (metrics["extra_steps"], metrics["capped"], metrics["steps"]) == (1, True, 4)


def test_a_bound_that_is_not_reached_caps_nothing(equal_compute):
    metrics = equal_compute(0.75, max_extra_steps=2)
    assert (metrics["extra_steps"], metrics["capped"], metrics["steps"]) == (2, False, 5)


def test_a_skipped_ppo_buys_nothing(equal_compute):
    metrics = equal_compute(0)
    assert (metrics["extra_steps"], metrics["capped"], metrics["steps"]) == (0, False, 3)


def test_steps_of_its_own_are_what_a_student_s_entry_says(equal_compute):
    metrics = equal_compute(0.75, steps=1)
    assert (metrics["extra_steps"], metrics["steps"]) == (2, 3)
