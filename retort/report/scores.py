"""What the report shows of each benchmark: every model's score, and the models compared item by item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from retort.evaluation.compare import compare
from retort.evaluation.statistics import mean_interval
from retort.io.tables import Rows
from retort.text.finish_reasons import is_whole

_LEVEL = 0.05
"""Of the paired test, two-sided, where there is no interval."""


def pair_key(first: str, second: str) -> str:
    """Name of a paired comparison in `metrics.json`: the second model's results are taken from the first one's."""
    return f"{first}_minus_{second}"


@dataclass(frozen=True)
class Score:
    """One model on one benchmark; shares are between 0 and 1."""

    accuracy: float
    low: float
    """Lower end of the 95 % interval (Wilson, widened where items share a source)."""
    high: float
    """Its upper end."""
    n: int
    official_accuracy: float
    """By the benchmark's own published rule."""
    unparsed_rate: float
    """Share of responses from which no answer could be read."""
    cut_off_rate: float
    """Share of responses that reached the token limit."""
    mean_response_tokens: float
    prompt_tokens: int
    response_tokens: int
    harness: dict[str, float] = field(default_factory=dict)
    """lm-evaluation-harness's scores of the same responses, by `filter/metric`."""


@dataclass(frozen=True)
class Paired:
    """Difference of two models' accuracy on the same items, with its 95 % interval."""

    difference: float
    low: float
    high: float
    n: int
    groups: int
    """Sources of the items, which were resampled as a whole; `n` where none is shared."""
    p_value: float
    test: str
    """`mcnemar` or `sign_flip`: see `retort.evaluation.compare`."""
    minimum_detectable_difference: float
    """Smallest true difference that these items would show in four of five repetitions."""

    @property
    def has_interval(self) -> bool:
        """Whether resampling says anything: it does not where the difference is the same on every item."""
        return self.low < self.high

    @property
    def verdict(self) -> str:
        """`above` or `below` zero when the whole interval is, else `open`; without an interval the test decides."""
        if not self.has_interval and self.p_value >= _LEVEL:
            return "open"
        return "above" if self.low > 0 else "below" if self.high < 0 else "open"


@dataclass(frozen=True)
class Benchmark:
    """All models on one benchmark."""

    name: str
    models: dict[str, Score]
    paired: dict[tuple[str, str], Paired]
    """By the two models' names."""
    temperature: float = 0.0
    """Temperature of the answers; 0 is greedy."""


def score(rows: Rows) -> Score:
    """Accuracy with its interval, how many responses could not be read, and how many tokens they have."""
    n = len(rows)
    scores = [row["score"] for row in rows]
    low, high = mean_interval(scores, [row["group_id"] for row in rows])
    response_tokens = sum(row["response_tokens"] for row in rows)
    parts = [dict(row["harness"]) for row in rows]
    return Score(
        accuracy=sum(scores) / n,
        low=low,
        high=high,
        n=n,
        official_accuracy=sum(row["official"] for row in rows) / n,
        unparsed_rate=sum(row["read"] is None for row in rows) / n,
        cut_off_rate=sum(not is_whole(row["finish_reason"]) for row in rows) / n,
        mean_response_tokens=response_tokens / n,
        prompt_tokens=sum(row["prompt_tokens"] for row in rows),
        response_tokens=response_tokens,
        harness={name: sum(one.get(name, 0.0) for one in parts) / n for name in parts[0]},
    )


def pair(first: Rows, second: Rows) -> Paired:
    """Difference of accuracy over the items that both models answered, clustered by their source."""
    found = compare(first, second)
    return Paired(
        found.difference,
        found.low,
        found.high,
        found.n,
        found.groups,
        found.p_value,
        found.test,
        found.minimum_detectable_difference,
    )


def compare_models(
    name: str, results: dict[str, Rows], pairs: Sequence[tuple[str, str]], temperature: float = 0.0
) -> Benchmark:
    """All models of one benchmark in the order of `results`, those without results left out.

    Args:
        name: Benchmark.
        results: Per-item results by model.
        pairs: Models to compare, the second one's results taken from the first one's.
        temperature: Temperature of the answers.
    """
    filled = {model: rows for model, rows in results.items() if rows}
    return Benchmark(
        name,
        {model: score(rows) for model, rows in filled.items()},
        {
            (first, second): pair(filled[first], filled[second])
            for first, second in pairs
            if first in filled and second in filled
        },
        temperature,
    )
