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
    z = NormalDist().inv_cdf((1 + level) / 2)
    p = successes / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # Exact at the ends, where rounding would leave them a hair inside.
    return (0.0 if successes == 0 else middle - half), (1.0 if successes == n else middle + half)


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
    if groups is None:
        sums, sizes = difference, np.ones(len(difference))
    else:
        number: dict[Hashable, int] = {}
        index = np.array([number.setdefault(group, len(number)) for group in groups])
        sums, sizes = np.bincount(index, weights=difference), np.bincount(index).astype(float)
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


def minimum_detectable_difference(n: int, discordance: float, *, power: float = 0.8, level: float = _LEVEL) -> float:
    """Smallest true difference of two accuracies that a paired test on `n` items finds with probability `power`.

    Connor 1987, eq. 3, n = (z_a sqrt(d) + z_b sqrt(d - x^2))^2 / x^2, solved for the difference x.

    Args:
        n: Items.
        discordance: d, the share of items on which exactly one of the two models is right.
        power: Probability of finding it; z_b is its normal quantile.
        level: 1 - significance, two-sided; z_a is its normal quantile.

    Raises:
        ValueError: `n` is not positive or `discordance` not between 0 and 1.
    """
    if n <= 0 or not 0 <= discordance <= 1:
        raise ValueError(f"{n} items with a discordance of {discordance} cannot be")
    z_a, z_b = NormalDist().inv_cdf((1 + level) / 2), NormalDist().inv_cdf(power)
    # (n + z_b^2) x^2 - 2 sqrt(n d) z_a x + (z_a^2 - z_b^2) d = 0, the larger root.
    leading, half = n + z_b**2, math.sqrt(n * discordance) * z_a
    root = math.sqrt(half**2 - leading * (z_a**2 - z_b**2) * discordance)
    return (half + root) / leading
