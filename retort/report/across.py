"""Models of one or more runs side by side: accuracy against what they cost, and paired differences over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from retort.errors import ConfigError, InputError
from retort.evaluation.statistics import mean_interval, paired_difference
from retort.report.arms import Arm, Run, Spent

Row = Mapping[str, Any]
"""Result of one item."""


@dataclass(frozen=True)
class Standing:
    """One model of one arm on one benchmark, over the runs that have it."""

    arm: str
    model: str
    label: str
    accuracy: float
    """Mean over runs and items."""
    low: float
    high: float
    """95 % interval: an item that several runs answered is one piece of evidence, not several."""
    by_seed: dict[int, float]
    """Accuracy of each run."""
    n: int
    """Items a run."""
    spent: Spent | None
    """What making it took, mean over runs; None for a model that the run did not make."""


@dataclass(frozen=True)
class Pair:
    """A model's results less another's on the same items, over the seeds that have both."""

    first: tuple[str, str]
    second: tuple[str, str]
    """Arm and model."""
    difference: float
    low: float
    high: float
    """95 % interval by resampling items (with all runs' answers to them); that seeds differ is seen in `by_seed`."""
    by_seed: dict[int, tuple[float, float, float]]
    """Difference and its interval in each run, by the first model's seed."""
    n: int
    """Items a run."""

    @property
    def clear(self) -> bool:
        """Whether the whole interval lies above zero."""
        return self.low > 0


@dataclass(frozen=True)
class Side:
    """All that is compared on one benchmark."""

    benchmark: str
    standings: list[Standing]
    pairs: list[Pair]
    left_out: list[str]
    """What has no figures, and why."""


def compare_arms(
    arms: Sequence[Arm], benchmark: str, pairs: Sequence[tuple[tuple[Arm, str], tuple[Arm, str]]] | None = None
) -> Side:
    """Every evaluated model of the arms on one benchmark.

    Args:
        arms: Runs gathered by their settings.
        benchmark: Its name; arms without it are left out and said.
        pairs: What is taken from what; left out: each arm's own comparisons, and its result less the first arm's.

    Raises:
        InputError: a table is missing, or runs were evaluated on different items.
        ConfigError: a pair has no run in common.
    """
    standings, left_out = [], []
    having = [arm for arm in arms if benchmark in {one.name for one in arm.config.evaluate.benchmarks}]
    names = {arm.name for arm in having}
    left_out += [f"{arm.name} was not evaluated on {benchmark}" for arm in arms if arm.name not in names]
    for arm in having:
        for model in arm.config.evaluated():
            runs, why = _with(arm, model)
            left_out += why
            if runs:
                standings.append(_standing(arm, model, runs, benchmark))
    if pairs is None:
        pairs = _default_pairs(having)
    wanted = [pair for pair in pairs if names.issuperset(arm.name for arm, _ in pair)]
    found = [pair_of(first, second, benchmark) for first, second in wanted]
    return Side(benchmark, standings, [pair for pair in found if pair is not None], left_out)


def _with(arm: Arm, model: str) -> tuple[list[Run], list[str]]:
    """Runs that trained the model, and why the others did not."""
    reasons = {run.root: run.skipped(model) for run in arm.runs}
    return (
        [run for run in arm.runs if reasons[run.root] is None],
        [f"{root}: {model} was not trained: {reason}" for root, reason in reasons.items() if reason is not None],
    )


def _standing(arm: Arm, model: str, runs: Sequence[Run], benchmark: str) -> Standing:
    tables = {run.config.seed: run.results(model, benchmark) for run in runs}
    rows = [row for table in tables.values() for row in table]
    scores = [row["score"] for row in rows]
    low, high = mean_interval(scores, [row["group_id"] for row in rows])
    return Standing(
        arm=arm.name,
        model=model,
        label=arm.config.label(model),
        accuracy=fmean(scores),
        low=low,
        high=high,
        by_seed={seed: fmean(row["score"] for row in table) for seed, table in tables.items()},
        n=max(len(table) for table in tables.values()),
        spent=_mean([spent for run in runs if (spent := run.spent(model)) is not None]),
    )


def _mean(spent: Sequence[Spent]) -> Spent | None:
    if not spent:
        return None
    seconds = [one.seconds for one in spent if one.seconds is not None]
    return Spent(
        round(fmean(one.teacher_tokens for one in spent)),
        fmean(one.flops for one in spent),
        fmean(seconds) if len(seconds) == len(spent) else None,
    )


def _default_pairs(arms: Sequence[Arm]) -> list[tuple[tuple[Arm, str], tuple[Arm, str]]]:
    found = [((arm, first), (arm, second)) for arm in arms for first, second in arm.config.comparisons()]
    results = [(arm, arm.config.final_student()) for arm in arms]
    found += [(other, results[0]) for other in results[1:]]
    return [pair for pair in found if all(model in arm.config.evaluated() for arm, model in pair)]


def pair_of(first: tuple[Arm, str], second: tuple[Arm, str], benchmark: str) -> Pair | None:
    """The first model's results less the second's; None where a gate stopped one of the two in every run.

    Raises:
        InputError: a table is missing, or the two were evaluated on different items.
        ConfigError: they have no seed in common.
    """
    ones, others = (_with(*place)[0] for place in (first, second))
    if not ones or not others:
        return None
    pairs = matched(ones, others)
    if not pairs:
        raise ConfigError(
            f"{first[0].name}/{first[1]} and {second[0].name}/{second[1]} have no seed in common, so their runs do not "
            "pair. Give runs of the same seeds."
        )
    a: list[float] = []
    b: list[float] = []
    groups: list[str] = []
    by_seed = {}
    items = 0
    for one, other in pairs:
        shared = _shared(one, first[1], other, second[1], benchmark)
        x, y = [left["score"] for left, _ in shared], [right["score"] for _, right in shared]
        sources = [left["group_id"] for left, _ in shared]
        alone = paired_difference(x, y, sources)
        by_seed[one.config.seed] = (alone.difference, alone.low, alone.high)
        a, b, groups, items = [*a, *x], [*b, *y], [*groups, *sources], max(items, len(shared))
    found = paired_difference(a, b, groups)
    names = (first[0].name, first[1]), (second[0].name, second[1])
    return Pair(*names, found.difference, found.low, found.high, by_seed, items)


def matched(ones: Sequence[Run], others: Sequence[Run]) -> list[tuple[Run, Run]]:
    """Runs of one seed together; a single run on each side pairs whatever its seed."""
    if len(ones) == len(others) == 1:
        return [(ones[0], others[0])]
    by_seed = {run.config.seed: run for run in others}
    return [(run, by_seed[run.config.seed]) for run in ones if run.config.seed in by_seed]


def _shared(one: Run, model: str, other: Run, rival: str, benchmark: str) -> list[tuple[Row, Row]]:
    left, right = one.results(model, benchmark), other.results(rival, benchmark)
    by_item = {row["item_id"]: row for row in right}
    pairs: list[tuple[Row, Row]] = [(row, by_item[row["item_id"]]) for row in left if row["item_id"] in by_item]
    file = other.root / f"outputs/evaluate/{rival}-{benchmark}.parquet"
    remedy = "Compare runs that were evaluated on the same data"
    if len(pairs) < max(len(left), len(right)):
        raise InputError(
            f"shares {len(pairs)} of its {len(right)} items with {one.root}, which has {len(left)}",
            file=file,
            field="item_id",
            remedy=remedy,
        )
    for row, against in pairs:
        if row["answer"] != against["answer"]:
            problem = f"item {row['item_id']!r} has another gold answer than in {one.root}"
            raise InputError(problem, file=file, field="answer", remedy=remedy)
    return pairs
