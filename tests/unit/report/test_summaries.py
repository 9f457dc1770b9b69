"""Numbers behind the report: votes, calibration, curves, costs, lineage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from retort.io.files import write_json
from retort.report.costs import costs, wall_times
from retort.report.curves import pick, read_curves
from retort.report.findings import _add_up
from retort.report.labels import AtCoverage, summarise_votes
from retort.report.lineage import read_lineage
from retort.report.reward import calibration_bins, summarise_reward
from retort.report.reward_section import reward_rows
from retort.run.paths import Paths


def vote(share: float, correct: bool | None, *, abstained: bool = False) -> dict:
    return {"share": share, "margin": share / 2, "abstained": abstained, "correct": correct}


def test_accuracy_at_coverage_keeps_the_most_united_votes_first() -> None:
    rows = [vote(1.0, True), vote(1.0, True), vote(0.5, False), vote(0.5, None), vote(0.25, None, abstained=True)]
    labels = summarise_votes(rows)
    assert labels.coverage == pytest.approx(4 / 5)
    # known labels: right, right, wrong
    assert labels.accuracy == pytest.approx(2 / 3)
    # share >= 1: 2 of 5 prompts, 2 of 2 right; share >= 0.5: 4 of 5 prompts, 2 of 3 known right
    assert labels.at_coverage == [AtCoverage(1.0, 2 / 5, 1.0, 2), AtCoverage(0.5, 4 / 5, pytest.approx(2 / 3), 3)]


def test_histogram_of_shares_counts_every_prompt_once() -> None:
    labels = summarise_votes([vote(share, None) for share in (0.0, 0.125, 0.699999988, 0.7, 1.0)])
    assert sum(share for _, share in labels.shares) == pytest.approx(1)
    # 0.7 as float32 is 0.699999988: it belongs to the bin that starts at 0.7 all the same
    assert dict(labels.shares)[0.7] == pytest.approx(2 / 5)
    assert dict(labels.shares)[0.9] == pytest.approx(1 / 5)


def test_calibration_bins_hold_mean_prediction_and_observed_share() -> None:
    bins = calibration_bins([0.05, 0.15, 0.95, 1.0], [False, True, True, True], bins=5)
    # [0, 0.2): mean 0.10, one of two positive; [0.8, 1]: mean 0.975, both positive
    assert [(found.predicted, found.observed, found.n) for found in bins] == [
        (pytest.approx(0.10), 0.5, 2),
        (pytest.approx(0.975), 1.0, 2),
    ]


def test_curves_are_read_by_name_without_what_is_no_number(tmp_path: Path) -> None:
    folder = tmp_path / "plots/metrics/train"
    folder.mkdir(parents=True)
    (folder / "loss.tsv").write_text("timestamp\tstep\tloss\n7\t1\t2.5\n8\t2\tnan\n9\t3\t1.5\n10\t4\t\n")
    curves = read_curves(tmp_path)
    assert curves == {"train/loss": [(1.0, 2.5), (3.0, 1.5)]}
    assert pick(curves, "loss") == [(1.0, 2.5), (3.0, 1.5)]
    assert pick(curves, "reward") == []


def test_shards_add_up_counts_and_costs_but_not_rates() -> None:
    shards = [
        {"responses": 3, "flops": 1.5, "cut_off_rate": 0.5, "model": "m", "finish_reasons": {"stop": 2, "length": 1}},
        {"responses": 4, "flops": 2.0, "cut_off_rate": 0.5, "model": "m", "finish_reasons": {"stop": 4, "length": 0}},
    ]
    assert _add_up(shards) == {
        "responses": 7,
        "flops": 3.5,
        "model": "m",
        "finish_reasons": {"stop": 6, "length": 1},
    }


def test_counts_that_only_some_shards_have_are_added() -> None:
    assert _add_up([{"reasons": {"stop": 2}}, {"reasons": {"length": 1, "stop": 1}}]) == {
        "reasons": {"stop": 3, "length": 1}
    }


def test_costs_follow_the_graph_and_read_nested_training_figures() -> None:
    rows = costs({"sft": {"trained": {"tokens": 5, "flops": 2.0}}, "prompts": {"train": 3}}, {"votes": 1.5})
    assert [(row.stage, row.tokens, row.flops, row.seconds) for row in rows] == [
        ("votes", None, None, 1.5),
        ("sft", 5, 2.0, None),
    ]


def test_wall_times_are_summed_over_the_tasks_of_a_stage(tmp_path: Path) -> None:
    write_json(tmp_path / "evaluate-a.json", {"task": "evaluate@sft-heldout", "seconds": 1.0})
    write_json(tmp_path / "evaluate-b.json", {"task": "evaluate@ppo-heldout", "seconds": 2.5})
    assert wall_times(tmp_path) == {"evaluate": 3.5}


def test_lineage_lists_every_output_with_its_hash(tmp_path: Path) -> None:
    lock = tmp_path / "dvc.lock"
    assert read_lineage(lock) == []
    lock.write_text("stages:\n  votes:\n    outs:\n    - path: outputs/votes\n      md5: abc.dir\n      size: 5\n")
    (found,) = read_lineage(lock)
    assert (found.task, found.path, found.digest, found.size) == ("votes", "outputs/votes", "abc.dir", 5)


def test_scores_that_chose_or_calibrated_the_model_are_not_counted(finished_run: Callable[..., Path]) -> None:
    found = summarise_reward(Paths(finished_run()).model("reward") / "validation.parquet")
    assert list(found) == ["teacher", "student"]
    for of_source in found.values():
        assert of_source.n == 3  # of 4 rows, 3 are in the gate's part
        assert min(entry.predicted for entry in of_source.by_label) == pytest.approx(0.2)


def test_bins_carry_the_interval_of_their_share() -> None:
    (found,) = calibration_bins([0.7] * 4, [True, True, True, False])
    # Wilson 1927: (0.75 + 3.8415/8 ± 1.96 sqrt(0.75 * 0.25 / 4 + 3.8415/64)) / (1 + 3.8415/4) = 0.6275 ± 0.3269
    assert (found.low, found.high) == (pytest.approx(0.3006, abs=1e-4), pytest.approx(0.9544, abs=1e-4))
    assert found.observed == 0.75


def test_figures_of_the_reward_model_are_listed_by_source_length_and_truth_with_intervals() -> None:
    quality = {"n": 1200, "auc": 0.9, "accuracy": 0.8, "brier": 0.1, "calibration_error": 0.05}
    ends = {"auc": [0.85, 0.95], "calibration_error": [0.0, 0.061]}
    metrics = {
        "by_source": {"student": quality | {"intervals": ends}},
        "by_length": [{"shortest": 3, "longest": 9, "quality": quality | {"auc": None}}],
        "truth": None,
    }
    assert reward_rows(metrics) == [
        ["student responses", "1,200", "0.900 [0.850, 0.950]", "0.800", "0.100", "0.050 [0.000, 0.061]"],
        ["3 to 9 tokens", "1,200", "–", "0.800", "0.100", "0.050"],
    ]
    assert reward_rows({}) == []
