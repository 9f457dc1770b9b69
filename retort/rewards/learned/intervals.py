"""95 % intervals of a reward model's figures, by a bootstrap that resamples prompts with all their responses.

Responses to one prompt share its difficulty, so they are no independent evidence (cluster bootstrap: Davison & Hinkley
1997, §3.8). A resample is a number of times each prompt was drawn; every figure is then a weighted one, computed for
many resamples at once.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

import numpy as np

from retort.rewards.learned.calibration import BINS, Array, bin_index

RESAMPLES = 1_000
LEVEL = 0.95
_MOST_WEIGHTS = 4_000_000
"""Weights (resamples x responses) held at once: 32 MB."""


def figure_intervals(
    truth: Array, probability: Array, groups: Sequence[Hashable], *, estimated_error: float, seed: int = 0
) -> dict[str, list[float]]:
    """Intervals of AUC, accuracy, Brier score and expected calibration error.

    The first three are percentile intervals (Davison & Hinkley 1997, §5.3). The calibration error takes the absolute
    value of noise, so that a resample's lies above the sample's as the sample's lies above the truth: its interval is
    the basic one (eq. 5.6), which turns that bias back, widened to hold the estimate. It starts at 0 where a
    calibrated model would often look as bad, labels being drawn from its own predictions (consistency resampling,
    Bröcker & Smith 2007, §2).

    Args:
        truth: Labels, 0 or 1, shape (N,).
        probability: Predicted probabilities, shape (N,).
        groups: The prompt of each response.
        estimated_error: The calibration error of the sample itself.
        seed: Seed of the resamples.

    Returns:
        `[low, high]` by figure; without `auc` where one label is too rare for resamples to hold it.
    """
    number: dict[Hashable, int] = {}
    index = np.array([number.setdefault(group, len(number)) for group in groups])
    generator = np.random.default_rng(seed)
    drawn, calibrated = [], []
    for counts in _resamples(generator, len(number), len(truth)):
        auc = weighted_auc(counts[:, index], truth, probability)
        drawn.append(np.stack([auc, *_others(counts, truth, probability, index)], axis=1))
        calibrated.append(_calibrated_error(generator, probability, len(counts)))
    auc, accuracy, brier, error = np.concatenate(drawn).T
    found = {"accuracy": _quantiles(accuracy), "brier": _quantiles(brier)}
    if np.isfinite(auc).mean() > LEVEL:
        found["auc"] = _quantiles(auc[np.isfinite(auc)])
    low, high = _quantiles(error)
    by_chance = estimated_error <= _quantiles(np.concatenate(calibrated))[1]
    found["calibration_error"] = [
        0.0 if by_chance else max(0.0, 2 * estimated_error - high),
        max(estimated_error, 2 * estimated_error - low),
    ]
    return found


def weighted_auc(weights_RN: Array, truth: Array, probability: Array) -> Array:
    """Area under the ROC curve of each row of weights, ties counted half (Mann & Whitney 1947), shape (R,).

    NaN where a row gives no weight to one of the labels.
    """
    order = np.argsort(probability, kind="stable")
    starts = np.flatnonzero(np.diff(probability[order], prepend=-np.inf))
    weights = weights_RN[:, order]
    positive = weights * truth[order]
    negative = weights - positive
    if len(starts) < len(order):
        negative, positive = (np.add.reduceat(part, starts, axis=1) for part in (negative, positive))
    below = negative.cumsum(axis=1) - negative / 2
    with np.errstate(invalid="ignore"):
        area: Array = np.einsum("rn,rn->r", positive, below) / (positive.sum(axis=1) * negative.sum(axis=1))
    return area


def _resamples(generator: np.random.Generator, groups: int, responses: int) -> Iterator[Array]:
    """How often each prompt was drawn, shape (R, groups), some resamples at a time."""
    size = max(1, min(RESAMPLES, _MOST_WEIGHTS // responses))
    for start in range(0, RESAMPLES, size):
        shape = min(size, RESAMPLES - start)
        yield generator.multinomial(groups, np.full(groups, 1 / groups), size=shape).astype(float)


def _others(counts_RG: Array, truth: Array, probability: Array, index: Array) -> list[Array]:
    """Accuracy, Brier score and calibration error of each resample: all are sums over prompts."""
    groups = counts_RG.shape[1]
    total = counts_RG @ np.bincount(index, minlength=groups)
    right = np.bincount(index, weights=(probability >= 0.5) == truth, minlength=groups)
    squares = np.bincount(index, weights=(probability - truth) ** 2, minlength=groups)
    gaps = np.zeros((groups, BINS))
    for bin_number in range(BINS):
        inside = bin_index(probability) == bin_number
        gaps[:, bin_number] = np.bincount(index, weights=inside * (truth - probability), minlength=groups)
    error = np.abs(counts_RG @ gaps).sum(axis=1)
    return [counts_RG @ right / total, counts_RG @ squares / total, error / total]


def _calibrated_error(generator: np.random.Generator, probability: Array, count: int) -> Array:
    """Calibration error of `count` samples whose labels are drawn from the predictions themselves, shape (count,)."""
    ordered = np.sort(probability)
    starts = np.flatnonzero(np.diff(bin_index(ordered), prepend=-1))
    labels = generator.random((count, len(ordered)), dtype=np.float32) < ordered
    gaps = np.add.reduceat(labels, starts, axis=1, dtype=float) - np.add.reduceat(ordered, starts)
    error: Array = np.abs(gaps).sum(axis=1) / len(ordered)
    return error


def _quantiles(values: Array) -> list[float]:
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return [float(low), float(high)]
