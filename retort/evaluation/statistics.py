"""Intervals and tests for accuracies, and for differences between two models on the same items.

Every function is deterministic: the bootstrap draws from a generator of its own with a fixed seed.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

_LEVEL = 0.95
_RESAMPLES = 10_000
_EXCHANGES = 20_000


@dataclass(frozen=True)
class Difference:
    """A difference of two means over the same items, with its 95 % interval."""

    difference: float
    low: float
    high: float
    n: int
    """Items."""
    groups: int
    """Groups of items that were resampled together."""


def wilson_interval(successes: int, n: int, *, level: float = _LEVEL) -> tuple[float, float]:
    """Wilson's score interval of a proportion (Wilson 1927; Newcombe 1998, method 3).

    Raises:
        ValueError: `n` is not positive, or `successes` not between 0 and `n`.
    """
    if n <= 0 or not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} is no proportion")
    return _wilson(successes / n, n, level)


def _wilson(p: float, n: float, level: float) -> tuple[float, float]:
    z = NormalDist().inv_cdf((1 + level) / 2)
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # Exact at the ends, where rounding would leave them a hair inside.
    return (0.0 if p == 0 else middle - half), (1.0 if p == 1 else middle + half)


def mean_interval(scores: Sequence[float], groups: Sequence[Hashable] | None = None) -> tuple[float, float]:
    """95 % interval of a mean of scores between 0 and 1: Wilson's, at the effective number of items.

    The effective number, p (1 - p) / SE^2, is that of independent right-or-wrong items with the same standard error
    (Dean & Pagano 2015, modified Wilson); without groups and for scores of 0 or 1 it is the number of items. Items of
    one group are no independent evidence: SE is clustered (`clustered_error`).

    Args:
        scores: A score an item.
        groups: The group of each item; each item by itself when left out.

    Raises:
        ValueError: there are no scores, one is not between 0 and 1, or the lengths differ.
    """
    if not len(scores) or not all(0 <= score <= 1 for score in scores):
        raise ValueError("scores between 0 and 1 are needed")
    mean, error = float(np.mean(np.asarray(scores, dtype=float))), clustered_error(scores, groups)
    independent = len(scores) if groups is None else len(set(groups))
    if set(scores) <= {0, 1} and independent == len(scores):
        return wilson_interval(round(sum(scores)), len(scores))
    # Where all items agree nothing is known of how alike the items of a group are: they then count as one.
    return _wilson(mean, mean * (1 - mean) / error**2 if error > 0 else independent, _LEVEL)


def clustered_error(values: Sequence[float], groups: Sequence[Hashable] | None = None) -> float:
    """Standard error of a mean whose items are drawn in groups (Miller 2024, arXiv 2411.00640, eq. 4).

    Raises:
        ValueError: there are no values, or the lengths differ.
    """
    if not len(values) or (groups is not None and len(groups) != len(values)):
        raise ValueError(f"{len(values)} values have no error")
    away = np.asarray(values, dtype=float)
    away = away - away.mean()
    sums, _ = _by_group(away, groups)
    return float(np.sqrt((sums**2).sum()) / len(away))


def _by_group(values: np.ndarray, groups: Sequence[Hashable] | None) -> tuple[np.ndarray, np.ndarray]:
    """Sum and number of the values of each group."""
    if groups is None:
        return values, np.ones(len(values))
    number: dict[Hashable, int] = {}
    index = np.array([number.setdefault(group, len(number)) for group in groups])
    return np.bincount(index, weights=values), np.bincount(index).astype(float)


def paired_difference(
    a: Sequence[float], b: Sequence[float], groups: Sequence[Hashable] | None = None, *, seed: int = 0
) -> Difference:
    """Mean of `a` minus mean of `b` over the same items, with a percentile bootstrap interval.

    Items that share a group are resampled together (cluster bootstrap: Davison & Hinkley 1997, §3.8), for variants
    of one question are no independent evidence.

    Args:
        a: A score an item, of the first model.
        b: The same items' scores, of the second model.
        groups: The group of each item; each item by itself when left out.
        seed: Seed of the resamples.

    Raises:
        ValueError: there are no items, or the lengths differ.
    """
    if not len(a) or len(a) != len(b) or (groups is not None and len(groups) != len(a)):
        raise ValueError(f"{len(a)} and {len(b)} scores are no pairs")
    difference = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    sums, sizes = _by_group(difference, groups)
    # Groups with equal sum and size are interchangeable: a resample is how often each kind of group was drawn.
    kinds, counts = np.unique(np.stack([sums, sizes], axis=1), axis=0, return_counts=True)
    generator = np.random.default_rng(seed)
    drawn = generator.multinomial(len(sums), counts / counts.sum(), size=_RESAMPLES)
    means = (drawn @ kinds[:, 0]) / (drawn @ kinds[:, 1])
    low, high = np.quantile(means, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return Difference(float(difference.mean()), float(low), float(high), len(difference), len(sums))


def mcnemar_exact(a: Sequence[bool], b: Sequence[bool]) -> float:
    """Two-sided exact p-value that two models are equally often right (McNemar 1947, with the binomial).

    Raises:
        ValueError: the lengths differ.
    """
    first = sum(x and not y for x, y in zip(a, b, strict=True))
    second = sum(y and not x for x, y in zip(a, b, strict=True))
    n = first + second
    tail = sum(math.comb(n, k) for k in range(min(first, second) + 1))
    return min(1.0, float(2 * tail / 2**n)) if n < 1000 else min(1.0, 2 * math.exp(math.log(tail) - n * math.log(2)))


def sign_flip_test(
    a: Sequence[float], b: Sequence[float], groups: Sequence[Hashable] | None = None, *, seed: int = 0
) -> float:
    """Two-sided p-value that two models are equally good, by exchanging them within whole groups of items.

    Fisher's randomisation test of paired differences with groups as units; for right and wrong items without groups it
    estimates `mcnemar_exact`. It draws 20,000 exchanges, so p is at least 1/20,001.

    Raises:
        ValueError: there are no items, or the lengths differ.
    """
    if not len(a) or len(a) != len(b) or (groups is not None and len(groups) != len(a)):
        raise ValueError(f"{len(a)} and {len(b)} scores are no pairs")
    sums, _ = _by_group(np.asarray(a, dtype=float) - np.asarray(b, dtype=float), groups)
    sizes, counts = np.unique(np.abs(sums[sums != 0]), return_counts=True)
    generator = np.random.default_rng(seed)
    # Of `count` groups with equal differences a binomial number keeps its sign.
    kept = generator.binomial(counts, 0.5, size=(_EXCHANGES, len(counts)))
    drawn = np.abs((2 * kept - counts) @ sizes)
    return float(1 + (drawn >= abs(sums.sum()) - 1e-9).sum()) / (1 + _EXCHANGES)


def minimum_detectable_difference(n: float, discordance: float, *, power: float = 0.8, level: float = _LEVEL) -> float:
    """Smallest true difference of two accuracies that a paired test on `n` items finds with probability `power`.

    Connor 1987, eq. 3, n = (z_a sqrt(d) + z_b sqrt(d - x^2))^2 / x^2, solved for the difference x by bisection; 1 where
    even that would not be found.

    Args:
        n: Items; with groups, the number of independent ones that would have the same standard error.
        discordance: d, the share of items on which exactly one of the two models is right.
        power: Probability of finding it; z_b is its normal quantile.
        level: 1 - significance, two-sided; z_a is its normal quantile.

    Raises:
        ValueError: `n` is not positive or `discordance` not between 0 and 1.
    """
    if n <= 0 or not 0 <= discordance <= 1:
        raise ValueError(f"{n} items with a discordance of {discordance} cannot be")
    z_a, z_b = NormalDist().inv_cdf((1 + level) / 2), NormalDist().inv_cdf(power)
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        d = max(discordance, middle)  # items that differ are at least those that make the difference
        enough = n * middle**2 >= (z_a * math.sqrt(d) + z_b * math.sqrt(d - middle**2)) ** 2
        low, high = (low, middle) if enough else (middle, high)
    return high
