"""Intervals of the reward model's figures: against slow loops, clustered, and as often right as they say."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, roc_auc_score

from retort.rewards.learned import intervals
from retort.rewards.learned.calibration import calibration_error
from retort.rewards.learned.intervals import figure_intervals, weighted_auc


def scored(generator, n, *, slope=1.0, per_prompt=4):
    """Labels, predictions and prompts: predictions are overconfident where `slope` is below 1."""
    prompts = np.repeat(np.arange(n // per_prompt), per_prompt)
    logits = 1 + generator.normal(0, 1, n // per_prompt)[prompts] + generator.normal(0, 1.5, n)
    labels = (generator.random(n) < 1 / (1 + np.exp(-slope * logits))).astype(float)
    return labels, 1 / (1 + np.exp(-logits)), prompts


def test_a_weighted_auc_is_that_of_repeated_responses():
    generator = np.random.default_rng(0)
    truth, probability = generator.integers(0, 2, 30).astype(float), generator.random(30).round(1)  # with ties
    weights = generator.integers(0, 4, (5, 30)).astype(float)
    found = weighted_auc(weights, truth, probability)
    for row, area in zip(weights.astype(int), found, strict=True):
        assert area == pytest.approx(roc_auc_score(np.repeat(truth, row), np.repeat(probability, row)))
    distinct = probability + np.arange(30) * 1e-6
    (area,) = weighted_auc(np.ones((1, 30)), truth, distinct)
    assert area == pytest.approx(roc_auc_score(truth, distinct))


def test_without_one_of_the_labels_there_is_no_area():
    assert np.isnan(weighted_auc(np.array([[1.0, 0.0]]), np.array([1.0, 0.0]), np.array([0.7, 0.2]))).all()


def test_figures_of_a_resample_are_those_of_its_responses():
    labels, scores, prompts = scored(np.random.default_rng(1), 40)
    counts = np.random.default_rng(2).multinomial(10, np.full(10, 0.1), size=3).astype(float)
    accuracy, brier, error = intervals._others(counts, labels, scores, prompts)
    for number, row in enumerate(counts.astype(int)):
        drawn = np.repeat(np.arange(40), row[prompts])
        assert accuracy[number] == pytest.approx(((scores[drawn] >= 0.5) == labels[drawn]).mean())
        assert brier[number] == pytest.approx(brier_score_loss(labels[drawn], scores[drawn]))
        assert error[number] == pytest.approx(calibration_error(labels[drawn], scores[drawn]))


def test_responses_that_only_repeat_each_other_narrow_nothing():
    labels, scores, _ = scored(np.random.default_rng(3), 200)
    once = figure_intervals(labels, scores, range(200), estimated_error=0.1)
    four = (np.repeat(labels, 4), np.repeat(scores, 4))
    clustered = figure_intervals(*four, np.repeat(np.arange(200), 4).tolist(), estimated_error=0.1)
    alone = figure_intervals(*four, range(800), estimated_error=0.1)
    for name in ("auc", "accuracy", "brier"):
        width, same, narrow = (found[name][1] - found[name][0] for found in (once, clustered, alone))
        assert same == pytest.approx(width, rel=0.1)
        assert narrow == pytest.approx(width / 2, rel=0.15)  # a standard error falls with the square root of n


def test_intervals_hold_the_truth_about_as_often_as_they_say(monkeypatch):
    monkeypatch.setattr(intervals, "RESAMPLES", 200)
    generator = np.random.default_rng(4)
    labels, scores, _ = scored(generator, 400_000, slope=0.6)
    truth = {
        "auc": roc_auc_score(labels, scores),
        "brier": brier_score_loss(labels, scores),
        "calibration_error": calibration_error(1 / (1 + np.exp(-0.6 * np.log(scores / (1 - scores)))), scores),
    }
    hits = dict.fromkeys(truth, 0)
    for _ in range(150):
        labels, scores, prompts = scored(generator, 400, slope=0.6)
        error = calibration_error(labels, scores)
        found = figure_intervals(labels, scores, prompts.tolist(), estimated_error=error)
        for name, value in truth.items():
            hits[name] += found[name][0] <= value <= found[name][1]
    # 95 % of 150 are 142; a binomial falls below 131 once in 10,000. A percentile interval of the calibration error
    # holds it in about half of the samples.
    assert min(hits.values()) >= 131, hits


def test_a_calibrated_model_s_error_may_be_zero_and_an_uncalibrated_one_s_may_not(monkeypatch):
    monkeypatch.setattr(intervals, "RESAMPLES", 200)
    generator = np.random.default_rng(5)
    lows = {1.0: [], 0.3: []}
    for slope, found in lows.items():
        for _ in range(20):
            labels, scores, prompts = scored(generator, 400, slope=slope)
            error = calibration_error(labels, scores)
            ends = figure_intervals(labels, scores, prompts.tolist(), estimated_error=error)["calibration_error"]
            assert ends[0] <= error <= ends[1]
            found.append(ends[0])
    assert sum(low == 0 for low in lows[1.0]) >= 17
    assert min(lows[0.3]) > 0.05


def test_a_label_too_rare_for_resamples_has_no_interval_of_the_auc():
    labels, scores = np.zeros(40), np.linspace(0.1, 0.9, 40)
    labels[-1] = 1  # in 64 % of resamples
    assert "auc" not in figure_intervals(labels, scores, range(40), estimated_error=0.4)


def test_the_same_rows_give_the_same_intervals_however_they_are_split(monkeypatch):
    labels, scores, prompts = scored(np.random.default_rng(6), 100)
    found = figure_intervals(labels, scores, prompts.tolist(), estimated_error=0.1)
    assert figure_intervals(labels, scores, [f"p{p}" for p in prompts], estimated_error=0.1) == found
    monkeypatch.setattr(intervals, "_MOST_WEIGHTS", 100 * 300)  # 300 resamples at a time
    other = figure_intervals(labels, scores, prompts.tolist(), estimated_error=0.1)
    assert other["auc"] == pytest.approx(found["auc"], abs=0.03)


def test_the_calibration_error_s_interval_takes_the_bias_of_resamples_back(monkeypatch):
    def others(counts, *_):
        flat = np.full(len(counts), 0.5)
        return [flat, flat, np.linspace(0.1, 0.3, len(counts))]

    monkeypatch.setattr(intervals, "_others", others)
    labels, scores = np.tile([0.0, 1.0], 50), np.tile([0.1, 0.9], 50)  # far from calibrated by chance
    monkeypatch.setattr(intervals, "_calibrated_error", lambda *given: np.zeros(given[-1]))
    # Quantiles 0.105 and 0.295 of the resamples: 2 x 0.16 - 0.295 = 0.025 and 2 x 0.16 - 0.105 = 0.215.
    found = figure_intervals(labels, scores, range(100), estimated_error=0.16)["calibration_error"]
    assert found == pytest.approx([0.025, 0.215], abs=1e-3)
    # Never without the estimate, never below 0.
    found = figure_intervals(labels, scores, range(100), estimated_error=0.1)["calibration_error"]
    assert found == pytest.approx([0.0, 0.1], abs=1e-3)
