"""The figures of a reward model's quality by hand and against scikit-learn, and the gate."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, brier_score_loss, roc_auc_score

from retort.rewards.learned.quality import Quality, gate_reasons, measure

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


def test_a_gate_by_interval_holds_the_worse_ends_to_the_bounds():
    found = Quality(
        n=100, base_rate=0.5, auc=0.8, accuracy=0.7, brier=0.2, calibration_error=0.1, prompts=50,
        intervals={"auc": [0.7, 0.9], "calibration_error": [0.0, 0.25]},
    )  # fmt: skip
    bounds = {"min_auc": 0.75, "max_calibration_error": 0.2}
    assert gate_reasons(found, **bounds) == []
    weak, off = gate_reasons(found, **bounds, by_interval=True)
    assert weak == "AUC 0.700 (end of its 95 % interval) on held-out prompts is below min_auc 0.75"
    assert off == "calibration error 0.250 (end of its 95 % interval) on held-out prompts exceeds 0.2"
    assert gate_reasons(found, min_auc=0.7, max_calibration_error=0.25, by_interval=True) == []
    # Where the rarer label is too rare for an interval, the AUC may be anything.
    rare = Quality(100, 0.02, 0.99, 0.98, 0.02, 0.01, 50, {"calibration_error": [0.0, 0.02]})
    assert gate_reasons(rare, **bounds, by_interval=True)[0].startswith("AUC 0.000 ")


def test_intervals_are_given_where_prompts_are():
    assert measure(LABELS, SCORES).intervals == {}
    found = measure(LABELS * 20, SCORES * 20, [number // 2 for number in range(100)])
    assert (found.n, found.prompts) == (100, 50)
    for name in ("auc", "accuracy", "brier", "calibration_error"):
        low, high = found.intervals[name]
        assert low <= getattr(found, name) <= high
        assert low < high


def test_the_gate_wants_enough_of_both_labels():
    # 4 of 100 responses have label 1: round(100 * min(0.04, 0.96)) = 4 < 10
    few = Quality(n=100, base_rate=0.04, auc=0.99, accuracy=0.96, brier=0.02, calibration_error=0.01)
    (reason,) = gate_reasons(few, min_auc=0.75, max_calibration_error=0.2, min_per_class=10)
    assert "only 4 of 100" in reason
    assert gate_reasons(few, min_auc=0.75, max_calibration_error=0.2, min_per_class=4) == []
