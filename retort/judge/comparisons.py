"""Comparisons of two outputs to one instruction, and the figures that say how far a judge of them can be trusted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import sqrt


@dataclass(frozen=True)
class PairJudgement:
    """One judgement of a model's output against a baseline's."""

    instruction: str
    output_1: str
    """The baseline's."""
    output_2: str
    """The model's."""
    preference: float | None
    """Probability that the model's is better: 1 a win, 0.5 a draw; None where the judge gave no readable verdict."""
    first_shown: int | None = None
    """Which output the judge was shown first, 1 or 2; None where that is not known."""


@dataclass(frozen=True)
class WinRate:
    """How often a model beats the baseline."""

    n: int
    """Comparisons with a verdict."""
    win_rate: float
    """100 x mean preference, draws as one half, as AlpacaEval defines it."""
    standard_error: float
    """Of the win rate, in points."""
    wins: int
    losses: int
    draws: int


@dataclass(frozen=True)
class Bias:
    """What a judge's choices go with that they should not."""

    decided: int
    """Comparisons that are neither draws nor without a verdict."""
    longer_wins: float | None
    """Share of those with outputs of different length in which the longer one wins; human judges are above 1/2 too."""
    ordered: int
    """Decided comparisons whose order is known."""
    first_wins: float | None
    """Share of them in which the output that was shown first wins; 1/2 for a judge that order does not sway, where
    the order was drawn at random."""


def win_rate(comparisons: Iterable[PairJudgement]) -> WinRate:
    """Win rate of the model over the comparisons that have a verdict.

    Raises:
        ValueError: none has one.
    """
    values = [one.preference for one in comparisons if one.preference is not None]
    if not values:
        raise ValueError("no comparison has a verdict")
    n, mean = len(values), sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / (n - 1) if n > 1 else 0.0
    wins, losses = sum(value > 0.5 for value in values), sum(value < 0.5 for value in values)
    return WinRate(n, 100 * mean, 100 * sqrt(variance / n), wins, losses, n - wins - losses)


def bias(comparisons: Sequence[PairJudgement]) -> Bias:
    """Length and position bias of the judge that made the comparisons; soft preferences count by their side of 1/2."""
    decided = [one for one in comparisons if one.preference not in (None, 0.5)]
    uneven = [one for one in decided if len(one.output_1) != len(one.output_2)]
    longer = [_model_wins(one) == (len(one.output_2) > len(one.output_1)) for one in uneven]
    first = [_model_wins(one) == (one.first_shown == 2) for one in decided if one.first_shown is not None]
    return Bias(len(decided), _share(longer), len(first), _share(first))


def _model_wins(one: PairJudgement) -> bool:
    return one.preference is not None and one.preference > 0.5


def _share(values: Sequence[bool]) -> float | None:
    return sum(values) / len(values) if values else None
