"""The figures of a reward model's quality by hand and against scikit-learn, and the gate."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, brier_score_loss, roc_auc_score

from retort.reward.quality import Quality, calibration_error, gate_reasons, measure, platt_scaling

LABELS = [0, 0, 1, 1, 1]
SCORES = [0.1, 0.6, 0.4, 0.8, 0.5]


def test_figures_by_hand():
    found = measure(LABELS, SCORES)
    assert (found.n, found.base_rate) == (5, 0.6)
    # Of 3 x 2 pairs, positives win but for (0.4, 0.6) and (0.5, 0.6): 4 of 6.
    assert found.auc == pytest.approx(4 / 6)
    # Right of 0.5, which itself counts as agreement: 0.1 yes, 0.6 no, 0.4 no, 0.8 yes, 0.5 yes.
    assert found.accuracy == pytest.approx(3 / 5)
    # (0.01 + 0.36 + 0.36 + 0.04 + 0.25) / 5.
    assert found.brier == pytest.approx(1.02 / 5)


def test_figures_equal_scikit_learn_s():
    rng = np.random.default_rng(0)
    scores = rng.random(500).round(2)
    labels = (rng.random(500) < scores).astype(int)
    found = measure(labels.tolist(), scores.tolist())
    assert found.auc == pytest.approx(roc_auc_score(labels, scores))
    assert found.accuracy == pytest.approx(accuracy_score(labels, scores >= 0.5))
    assert found.brier == pytest.approx(brier_score_loss(labels, scores))


def test_with_one_class_there_is_no_auc_and_with_nothing_no_figures():
    assert measure([1, 1], [0.2, 0.9]).auc is None
    with pytest.raises(ValueError, match="no scored response"):
        measure([], [])


def test_calibration_error_by_hand():
    # Two bins. Below 0.5: labels (0, 1), scores (0.1, 0.3): |0.5 - 0.2| = 0.3 for 2 of 4. Above: labels (1, 1),
    # scores (0.9, 1.0), 1.0 belonging to the last bin: |1 - 0.95| = 0.05 for 2 of 4. 0.15 + 0.025.
    found = calibration_error(np.array([0.0, 1, 1, 1]), np.array([0.1, 0.3, 0.9, 1.0]), bins=2)
    assert found == pytest.approx(0.175)


def test_probabilities_that_come_true_have_no_calibration_error():
    truth = np.array([0.0, 1, 1, 1])  # 0.75 came true in three of four cases
    assert calibration_error(truth, np.full(4, 0.75)) == pytest.approx(0)
    assert calibration_error(truth, np.full(4, 0.25)) == pytest.approx(0.5)


def test_platt_scaling_recovers_a_known_temperature_and_bias():
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 4, 40_000)
    labels = (rng.random(40_000) < 1 / (1 + np.exp(-(logits / 2.5 + 0.7)))).astype(int)
    temperature, bias = platt_scaling(labels.tolist(), logits.tolist())
    assert temperature == pytest.approx(2.5, abs=0.1)
    assert bias == pytest.approx(0.7, abs=0.05)


def test_platt_scaling_improves_calibration_and_keeps_the_order():
    rng = np.random.default_rng(2)
    logits = rng.normal(0, 6, 4000)
    labels = (rng.random(4000) < 1 / (1 + np.exp(-(logits / 3 - 1)))).astype(int)
    temperature, bias = platt_scaling(labels.tolist(), logits.tolist())
    before, after = (1 / (1 + np.exp(-z)) for z in (logits, logits / temperature + bias))
    assert calibration_error(labels, after) < 0.5 * calibration_error(labels, before)
    assert roc_auc_score(labels, after) == pytest.approx(roc_auc_score(labels, before))


def test_one_class_changes_nothing():
    assert platt_scaling([1, 1], [3.0, -2.0]) == (1.0, 0.0)


def quality(auc, error=0.1):
    return Quality(n=9, base_rate=0.5, auc=auc, accuracy=0.5, brier=0.2, calibration_error=error)


@pytest.mark.parametrize(
    ("auc", "error", "words"),
    [
        (0.75, 0.2, []),  # at the bounds it passes
        (0.749, 0.1, ["AUC 0.749 on held-out prompts is below min_auc 0.75"]),
        (0.9, 0.201, ["calibration error 0.201 on held-out prompts exceeds 0.2"]),
        (0.5, 0.4, ["AUC 0.500", "calibration error 0.400"]),
        (None, 0.4, ["all 9 held-out responses have one label"]),
    ],
)
def test_the_gate_says_each_reason(auc, error, words):
    found = gate_reasons(quality(auc, error), min_auc=0.75, max_calibration_error=0.2)
    assert len(found) == len(words)
    assert all(text.startswith(start) for text, start in zip(found, words, strict=True))


def test_the_gate_wants_enough_of_both_labels():
    # 4 of 100 responses have label 1: round(100 * min(0.04, 0.96)) = 4 < 10
    few = Quality(n=100, base_rate=0.04, auc=0.99, accuracy=0.96, brier=0.02, calibration_error=0.01)
    (reason,) = gate_reasons(few, min_auc=0.75, max_calibration_error=0.2, min_per_class=10)
    assert "only 4 of 100" in reason
    assert gate_reasons(few, min_auc=0.75, max_calibration_error=0.2, min_per_class=4) == []
