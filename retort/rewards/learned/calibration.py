"""Calibration of predicted probabilities: how far off they are, and the scaling that mends it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

BINS = 15
"""Bins of equal width that predictions are sorted into (Guo et al. 2017, §5 uses 15)."""

Array = npt.NDArray[np.float64]


def bin_index(probability: Array, bins: int = BINS) -> npt.NDArray[np.int64]:
    """Number of the bin of [0, 1] that each probability falls into; 1 belongs to the last one."""
    return np.minimum((np.asarray(probability) * bins).astype(np.int64), bins - 1)


def calibration_error(truth: Array, probability: Array, bins: int = BINS) -> float:
    """Sum over bins of (share of samples) x |mean label - mean probability| (Guo et al. 2017, eq. 3).

    Even a calibrated model has one above 0 on finitely many samples: the absolute value turns noise into error.
    """
    index = bin_index(probability, bins)
    gaps = [
        (index == b).sum() * abs(truth[index == b].mean() - probability[index == b].mean())
        for b in range(bins)
        if (index == b).any()
    ]
    return float(sum(gaps) / len(truth))


def platt_scaling(labels: Sequence[int], logits: Sequence[float]) -> tuple[float, float]:
    """Temperature and bias that make sigmoid(logit / temperature + bias) fit `labels` best.

    Temperature scaling (Guo et al. 2017, §4.2) with the bias of Platt 1999: training data are balanced or weighted and
    the responses that will be scored are not, which shifts every logit by the same amount and no temperature can undo.
    The order of the scores, and so their AUC, stays as it is. With one class only, nothing is changed.

    Returns:
        Temperature (positive) and bias.
    """
    from scipy.optimize import minimize

    truth, values = np.asarray(labels, dtype=float), np.asarray(logits, dtype=float)
    if truth.min() == truth.max():
        return 1.0, 0.0

    def loss(parameters: Array) -> float:
        z = values * np.exp(-parameters[0]) + parameters[1]
        return float((np.logaddexp(0, z) - truth * z).mean())

    found = minimize(loss, np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-4, "fatol": 1e-8})
    return float(np.exp(found.x[0])), float(found.x[1])
