"""Numbers behind the report: votes, calibration, curves, costs, lineage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from retort.io.files import write_json
from retort.report.costs import costs, wall_times
from retort.report.curves import read_curves
from retort.report.formats import money
from retort.report.labels import AtCoverage, summarise_votes
from retort.report.lineage import read_lineage
from retort.report.prices import JUDGE, Prices, read_prices
from retort.report.reward import calibration_bins, reward_rows, summarise_reward
from retort.report.stage_metrics import Measured, add_up
from retort.run.graph import Stage
from retort.run.known_stages import STAGES
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


def test_shards_add_up_counts_and_costs_but_not_rates() -> None:
    shards = [
        {"responses": 3, "flops": 1.5, "cut_off_rate": 0.5, "model": "m", "finish_reasons": {"stop": 2, "length": 1}},
        {"responses": 4, "flops": 2.0, "cut_off_rate": 0.5, "model": "m", "finish_reasons": {"stop": 4, "length": 0}},
    ]
    assert add_up(shards) == {
        "responses": 7,
        "flops": 3.5,
        "model": "m",
        "finish_reasons": {"stop": 6, "length": 1},
    }


def test_counts_that_only_some_shards_have_are_added() -> None:
    assert add_up([{"reasons": {"stop": 2}}, {"reasons": {"length": 1, "stop": 1}}]) == {
        "reasons": {"stop": 3, "length": 1}
    }


def measured(stage: str, values: dict[str, str], **metrics: object) -> Measured:
    return Measured(STAGES[stage] if stage in STAGES else Stage(stage, "", ""), values, metrics)


def test_costs_have_a_row_a_group_and_one_for_all_that_evaluate() -> None:
    stages = {
        "prompts": measured("prompts", {}, train=3),
        "sft-more": measured("sft", {"student": "more"}, tokens=5, flops=2.0),
        "evaluate-sft": measured("evaluate", {"model": "sft"}, prompt_tokens=1, response_tokens=2, flops=3.0),
        "evaluate-ppo": measured("evaluate", {"model": "ppo"}, prompt_tokens=10, response_tokens=20, flops=30.0),
    }
    seconds = {"prompts": 1.5, "evaluate-sft-heldout": 1.0, "evaluate-ppo-heldout": 2.0, "report": 0.5, "gone-x": 9.0}
    rows = costs(stages, seconds)
    assert [(row.name, row.tokens, row.flops, row.seconds) for row in rows] == [
        ("prompts", None, None, 1.5),
        ("sft-more", 5, 2.0, None),
        ("evaluate", 33, 33.0, 3.0),
        ("report", None, None, 0.5),
    ]
    assert {row.price for row in rows} == {None}


def test_money_is_worked_out_from_tokens_and_the_prices_of_who_read_and_wrote_them() -> None:
    stages = {
        "teacher_responses": measured("teacher_responses", {}, prompt_tokens=1_000_000, response_tokens=500_000),
        "votes": measured("votes", {}, figures={"judge": "m", "prompt_tokens": 1000, "response_tokens": 10}),
        "sft-sft": measured("sft", {"student": "sft"}, tokens=9),
        "evaluate-teacher": measured("evaluate", {"model": "teacher"}, prompt_tokens=10, response_tokens=0),
        "evaluate-sft": measured("evaluate", {"model": "sft"}, prompt_tokens=10, response_tokens=5),
    }
    rows = {row.name: row for row in costs(stages, prices=Prices({"teacher": (2.0, 4.0), JUDGE: (1.0, 10.0)}))}
    assert rows["teacher_responses"].price == pytest.approx(4.0)
    assert rows["votes"].tokens == 1010
    assert rows["votes"].price == pytest.approx(0.0011)
    assert rows["sft-sft"].price is None
    assert rows["evaluate"].price == pytest.approx(2e-5)


def test_prices_are_those_of_the_engines_in_params(tmp_path: Path) -> None:
    params = tmp_path / "params.yaml"
    assert read_prices(params) == Prices()
    params.write_text(
        "models:\n  teacher: {engine: {type: openai, prompt_cost: 1.5, response_cost: 6}}\n  base: {source: x}\n"
        "students: {sft: {method: sft, from: base, engine: {type: mine, response_cost: 2}}}\n"
        "judge: {model: {engine: {type: openai, prompt_cost: 0.5}}}\n"
    )
    assert read_prices(params).of == {"teacher": (1.5, 6.0), "sft": (0.0, 2.0), JUDGE: (0.5, 0.0)}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "–"), (0.0, "0.00"), (1234.5, "1,234.50"), (0.5, "0.50"), (0.0123, "0.0123"), (0.005, "0.005"),
        (0.00045678, "0.000457"), (0.02, "0.02"), (0.09999, "0.10"), (3e-9, "0.000000003"),
    ],
)  # fmt: skip
def test_a_fraction_of_a_cent_is_not_rounded_to_nothing(value: float | None, words: str) -> None:
    assert money(value) == words


def test_wall_times_are_read_by_address(tmp_path: Path) -> None:
    write_json(tmp_path / "evaluate-a.json", {"task": "evaluate-sft-heldout", "seconds": 1.0})
    write_json(tmp_path / "evaluate-b.json", {"task": "evaluate-ppo-heldout", "seconds": 2.5})
    assert wall_times(tmp_path) == {"evaluate-sft-heldout": 1.0, "evaluate-ppo-heldout": 2.5}


def test_lineage_lists_every_output_with_its_hash(tmp_path: Path) -> None:
    lock = tmp_path / "dvc.lock"
    assert read_lineage(lock) == []
    lock.write_text("stages:\n  votes:\n    outs:\n    - path: outputs/votes\n      md5: abc.dir\n      size: 5\n")
    (found,) = read_lineage(lock)
    assert (found.task, found.path, found.digest, found.size) == ("votes", "outputs/votes", "abc.dir", 5)


def test_scores_that_chose_or_calibrated_the_model_are_not_counted(finished_run: Callable[..., Path]) -> None:
    found = summarise_reward(Paths(finished_run()).reward("learned") / "validation.parquet", ["teacher", "sft"])
    assert list(found) == ["teacher", "sft"]
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
        "by_source": {"sft": quality | {"intervals": ends}},
        "by_length": [{"shortest": 3, "longest": 9, "quality": quality | {"auc": None}}],
        "truth": None,
    }
    assert reward_rows(metrics, {"sft": "SFT student"}.get) == [
        ["SFT student responses", "1,200", "0.900 [0.850, 0.950]", "0.800", "0.100", "0.050 [0.000, 0.061]"],
        ["3 to 9 tokens", "1,200", "–", "0.800", "0.100", "0.050"],
    ]
    assert reward_rows({}) == []
