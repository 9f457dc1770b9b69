"""Length-controlled win rate (AlpacaEval 2: Dubois et al. 2024, arXiv 2404.04475, § 3).

A logistic model of one judge's preferences for one model over one baseline:

    P(model is better) = logistic(length * tanh(d / sd(d)) + difficulty * z(instruction) + quality)

with d = length of the baseline's output - length of the model's, in characters, and z the difficulty of the
instruction, the same for all models. The length-controlled win rate is the mean prediction at d = 0: what the judge
would say if the outputs were equally long.

The coefficients are fitted as AlpacaEval 2 fits them: L1-penalised logistic regression on soft labels, the penalty's
strength by five-fold cross-validation. Its released fit adds the annotations of two models that were told to be
verbose and concise, at a tenth of the weight each; where those are given as `anchors` they are used alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, tanh

import numpy as np
import numpy.typing as npt

from retort.judge.comparisons import PairJudgement

FOLDS = 5
ANCHOR_WEIGHT = 0.1
"""Weight of an annotation of an anchor: the 0.2 of AlpacaEval 2, halved over its two anchors."""

_SEED = 123
_STRENGTHS = [float(value) for value in np.logspace(-4, 4, 10)]
"""Inverse strengths of the penalty that are tried: scikit-learn's ten."""
Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LengthControl:
    """Coefficients of the model."""

    length: float
    difficulty: float
    """0 where the instructions' difficulties are not known."""
    quality: float

    def win_rate(self, difficulties: Sequence[float]) -> float:
        """100 x the mean predicted preference over instructions of these difficulties, at equal length."""
        return 100 * sum(_logistic(self.difficulty * z + self.quality) for z in difficulties) / len(difficulties)


def fit_length_control(
    comparisons: Sequence[PairJudgement],
    difficulties: Mapping[str, float] | None = None,
    anchors: Sequence[Sequence[PairJudgement]] = (),
) -> LengthControl:
    """Fit the model to the comparisons that have a verdict.

    Args:
        comparisons: One model against one baseline.
        difficulties: Difficulty of each instruction; None leaves the term out (the paper's minimal variant).
        anchors: Comparisons of other models with the same baseline, which share the coefficients of length and
            difficulty but not that of quality.

    Raises:
        ValueError: fewer than five comparisons have a verdict, or an instruction has no difficulty.
    """
    known = [one for one in comparisons if one.preference is not None]
    if len(known) < FOLDS:
        raise ValueError(f"{len(known)} comparisons have a verdict; at least {FOLDS} are needed")
    parts = [_features(known, difficulties, quality=1.0)]
    preferences, weights = [one.preference for one in known], [1.0] * len(known)
    for anchor in anchors:
        rows = [one for one in anchor if one.preference is not None]
        parts.append(_features(rows, difficulties, quality=0.0))
        preferences += [one.preference for one in rows]
        weights += [ANCHOR_WEIGHT] * len(rows)
    columns = [0, 2] if difficulties is None else [0, 1, 2]
    fitted = _fit(np.concatenate(parts)[:, columns], np.array(preferences, dtype=float), np.array(weights))
    coefficients = dict(zip(columns, fitted, strict=True))
    return LengthControl(coefficients[0], coefficients.get(1, 0.0), coefficients[2])


def difficulties_of(comparisons: Sequence[PairJudgement], difficulties: Mapping[str, float] | None) -> list[float]:
    """Difficulty of each comparison's instruction; 0 where none are known.

    Raises:
        ValueError: one instruction has none.
    """
    if difficulties is None:
        return [0.0] * len(comparisons)
    missing = next((one.instruction for one in comparisons if one.instruction not in difficulties), None)
    if missing is not None:
        raise ValueError(f"no difficulty is known for the instruction {missing[:80]!r}")
    return [difficulties[one.instruction] for one in comparisons]


def _features(rows: Sequence[PairJudgement], difficulties: Mapping[str, float] | None, *, quality: float) -> Array:
    """(rows, 3): length, difficulty, quality."""
    gaps = np.array([len(one.output_1) - len(one.output_2) for one in rows], dtype=float)
    spread = float(gaps.std(ddof=1)) if len(gaps) > 1 else 0.0
    length = [tanh(gap / spread) if spread else 0.0 for gap in gaps]
    return np.column_stack([length, difficulties_of(rows, difficulties), [quality] * len(rows)])


def _fit(features: Array, preferences: Array, weights: Array) -> list[float]:
    """Coefficients at the penalty whose held-out log loss is least; ties take the stronger penalty."""
    folds = _folds(len(preferences))
    losses = []
    for strength in _STRENGTHS:
        held_out = 0.0
        for fold in range(FOLDS):
            train, test = folds != fold, folds == fold
            fitted = _regress(features[train], preferences[train], weights[train], strength)
            predicted = np.array([_logistic(x) for x in features[test] @ fitted]).clip(1e-15, 1 - 1e-15)
            loss = preferences[test] * np.log(predicted) + (1 - preferences[test]) * np.log(1 - predicted)
            held_out -= float((loss * weights[test]).mean())
        losses.append(held_out)
    fitted = _regress(features, preferences, weights, _STRENGTHS[int(np.argmin(losses))])
    return [float(value) for value in fitted]


def _regress(features: Array, preferences: Array, weights: Array, strength: float) -> Array:
    """L1-penalised logistic regression on soft labels: each row twice, once a class, weighted by its probability."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=strength, l1_ratio=1, solver="liblinear", fit_intercept=False, random_state=_SEED)
    twice = np.concatenate([features, features])
    labels = np.repeat([1, 0], len(preferences))
    model.fit(twice, labels, sample_weight=np.concatenate([preferences * weights, (1 - preferences) * weights]))
    coefficients: Array = model.coef_[0]
    return coefficients


def _folds(n: int) -> npt.NDArray[np.int64]:
    """Number of the fold of each row; the rows' order in the file decides, as in AlpacaEval 2."""
    from sklearn.model_selection import GroupKFold

    folds = np.zeros(n, dtype=np.int64)
    rows = np.arange(n)
    for fold, (_, test) in enumerate(GroupKFold(n_splits=FOLDS).split(rows, groups=rows)):
        folds[test] = fold
    return folds


def _logistic(x: float) -> float:
    return 1 / (1 + exp(-x)) if x >= 0 else exp(x) / (1 + exp(x))
