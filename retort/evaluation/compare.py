"""Comparing two models item by item on the same benchmark."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from retort.errors import InputError
from retort.evaluation.statistics import (
    clustered_error,
    mcnemar_exact,
    mean_interval,
    minimum_detectable_difference,
    paired_difference,
    sign_flip_test,
)
from retort.io import tables


@dataclass(frozen=True)
class Mean:
    """A model's accuracy over the shared items, with its 95 % interval."""

    accuracy: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """The first model against the second, on the items that both answered."""

    first: Mean
    second: Mean
    difference: float
    """Accuracy of the first minus that of the second."""
    low: float
    high: float
    """95 % interval of the difference: paired bootstrap, of whole groups where items share a source."""
    p_value: float
    """Two-sided: probability of a difference as large between equally good models."""
    test: str
    """`mcnemar` (exact), or `sign_flip` where items share a source or scores are fractions."""
    minimum_detectable_difference: float
    """Smallest true difference that these items would show in four of five repetitions, at the discordance found."""
    n: int
    """Items that both models answered."""
    groups: int
    """Sources of those items; `n` where none is shared."""
    only_first_right: int
    only_second_right: int
    left_out: int
    """Items that only one of the models answered."""


def compare_files(first: Path, second: Path) -> Comparison:
    """Compare two tables of results, as `evaluate` writes them.

    Raises:
        InputError: a table is missing or malformed, they share no items, or an item has two gold answers.
    """
    rows = tables.read_table(first, tables.RESULTS), tables.read_table(second, tables.RESULTS)
    remedy = "Compare results of two models on one benchmark, from the same data"
    golds = {row["item_id"]: row["answer"] for row in rows[0]}
    shared = [row for row in rows[1] if row["item_id"] in golds]
    if not shared:
        raise InputError(f"has no item in common with {first}", file=second, field="item_id", remedy=remedy)
    for place, row in enumerate(rows[1], start=1):
        if golds.get(row["item_id"], row["answer"]) != row["answer"]:
            problem = f"item {row['item_id']!r} has another gold answer than in {first}"
            raise InputError(problem, file=second, row=place, field="answer", remedy=remedy)
    return compare(*rows)


def compare(first: tables.Rows, second: tables.Rows) -> Comparison:
    """Compare two models' results on one benchmark.

    Raises:
        ValueError: they share no items.
    """
    other = {row["item_id"]: row for row in second}
    pairs = [(row, other[row["item_id"]]) for row in first if row["item_id"] in other]
    a, b = [one["score"] for one, _ in pairs], [two["score"] for _, two in pairs]
    groups = [one["group_id"] for one, _ in pairs]
    found = paired_difference(a, b, groups)
    apart = len(set(groups)) == len(pairs) and set(a) | set(b) <= {0, 1}
    return Comparison(
        first=Mean(sum(a) / len(a), *mean_interval(a, groups)),
        second=Mean(sum(b) / len(b), *mean_interval(b, groups)),
        difference=found.difference,
        low=found.low,
        high=found.high,
        p_value=mcnemar_exact([x == 1 for x in a], [y == 1 for y in b]) if apart else sign_flip_test(a, b, groups),
        test="mcnemar" if apart else "sign_flip",
        minimum_detectable_difference=_detectable(a, b, groups),
        n=found.n,
        groups=found.groups,
        only_first_right=sum(x == 1 and y != 1 for x, y in zip(a, b, strict=True)),
        only_second_right=sum(y == 1 and x != 1 for x, y in zip(a, b, strict=True)),
        left_out=len(first) + len(second) - 2 * len(pairs),
    )


def _detectable(a: list[float], b: list[float], groups: list[str]) -> float:
    """At the discordance found, and at the number of independent items that would have the same standard error."""
    differences = [x - y for x, y in zip(a, b, strict=True)]
    discordance = sum(value * value for value in differences) / len(differences)
    alone, grouped = clustered_error(differences), clustered_error(differences, groups)
    effective = len(differences) * (alone / grouped) ** 2 if grouped > 0 else len(set(groups))
    return minimum_detectable_difference(effective, discordance)
