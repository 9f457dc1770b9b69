"""Calibration error by hand, bins, and the scaling that mends it."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from retort.rewards.learned.calibration import bin_index, calibration_error, platt_scaling


def test_the_last_bin_holds_one_and_a_bound_belongs_to_the_bin_above():
    assert bin_index(np.array([0.0, 0.24, 0.25, 0.75, 0.99, 1.0]), bins=4).tolist() == [0, 0, 1, 3, 3, 3]


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
