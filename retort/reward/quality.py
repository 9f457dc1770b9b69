"""How good a reward model is: discrimination, calibration, and the gate that PPO must pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Quality:
    """Figures of N scored responses; AUC is null where only one class is present."""

    n: int
    base_rate: float
    """Share of responses with label 1."""
    auc: float | None
    """Probability that a random positive scores above a random negative."""
    accuracy: float
    """Share on the right side of 0.5."""
    brier: float
    """Mean squared error of the probability (Brier 1950)."""
    calibration_error: float
    """Expected calibration error over 15 bins of equal width (Naeini et al. 2015; Guo et al. 2017, eq. 3)."""


def measure(labels: Sequence[int], scores: Sequence[float]) -> Quality:
    """Measure probabilities against labels.

    Raises:
        ValueError: there is nothing to measure.
    """
    from sklearn.metrics import roc_auc_score

    if not labels:
        raise ValueError("no scored response to measure")
    truth, probability = np.asarray(labels, dtype=float), np.asarray(scores, dtype=float)
    both = 0 < truth.mean() < 1
    return Quality(
        n=len(truth),
        base_rate=float(truth.mean()),
        auc=float(roc_auc_score(truth, probability)) if both else None,
        accuracy=float(((probability >= 0.5) == truth).mean()),
        brier=float(((probability - truth) ** 2).mean()),
        calibration_error=calibration_error(truth, probability),
    )


def calibration_error(truth: npt.NDArray[np.float64], probability: npt.NDArray[np.float64], bins: int = 15) -> float:
    """Sum over bins of (share of samples) x |mean label - mean probability| (Guo et al. 2017, eq. 3)."""
    index = np.minimum((probability * bins).astype(int), bins - 1)
    gaps = [
        (index == b).sum() * abs(truth[index == b].mean() - probability[index == b].mean())
        for b in range(bins)
        if (index == b).any()
    ]
    return float(sum(gaps) / len(truth))


def platt_scaling(labels: Sequence[int], logits: Sequence[float]) -> tuple[float, float]:
    """Temperature and bias that make sigmoid(logit / temperature + bias) fit `labels` best.

    Platt 1999 with the temperature of Guo et al. 2017, §4.2: the bias is needed because training data are balanced
    and the responses that will be scored are not. With one class only, nothing is changed.

    Returns:
        Temperature (positive) and bias.
    """
    from scipy.optimize import minimize

    truth, values = np.asarray(labels, dtype=float), np.asarray(logits, dtype=float)
    if truth.min() == truth.max():
        return 1.0, 0.0

    def loss(parameters: npt.NDArray[np.float64]) -> float:
        z = values * np.exp(-parameters[0]) + parameters[1]
        return float((np.logaddexp(0, z) - truth * z).mean())

    found = minimize(loss, np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-4, "fatol": 1e-8})
    return float(np.exp(found.x[0])), float(found.x[1])


def gate_reasons(
    quality: Quality, *, min_auc: float, max_calibration_error: float, min_per_class: int = 1
) -> list[str]:
    """Why a reward model must not be optimised against; empty when it may be."""
    if quality.auc is None:
        return [f"all {quality.n} held-out responses have one label: there is nothing to tell apart"]
    reasons = []
    rarer = round(quality.n * min(quality.base_rate, 1 - quality.base_rate))
    if rarer < min_per_class:
        reasons.append(
            f"only {rarer} of {quality.n} held-out responses have the rarer label, fewer than min_per_class "
            f"{min_per_class}: the figures below are mostly chance"
        )
    if quality.auc < min_auc:
        reasons.append(f"AUC {quality.auc:.3f} on held-out prompts is below min_auc {min_auc}")
    if quality.calibration_error > max_calibration_error:
        reasons.append(
            f"calibration error {quality.calibration_error:.3f} on held-out prompts exceeds {max_calibration_error}"
        )
    return reasons
