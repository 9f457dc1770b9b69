"""The result table as plain text for a terminal, from the content of `metrics.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from retort.report.formats import interval_words, money, percent, points
from retort.report.prices import Prices


def result_lines(metrics: Mapping[str, Any], prices: Prices | None = None) -> list[str]:
    """Accuracy of every model and the paired differences, one line each, and what must be known beside them.

    Args:
        metrics: Content of the report's `metrics.json`, which names its models and comparisons itself.
        prices: Prices that turn the models' tokens into money; without any there is no such column.
    """
    models, paired = metrics["models"], metrics["paired"]
    rows = [["model", "accuracy", "95 % interval", "unparsed", "tokens", "n"]]
    costs = []
    for name in (name for name in metrics["order"] if name in models):
        score = models[name]
        interval = f"{100 * score['low']:.1f} – {100 * score['high']:.1f}"
        costs.append((prices or Prices()).cost(name, score["prompt_tokens"], score["response_tokens"]))
        rows.append(
            [
                metrics["names"][name],
                percent(score["accuracy"]),
                interval,
                percent(score["unparsed_rate"]),
                f"{score['mean_response_tokens']:.1f}",
                f"{score['n']}",
            ]
        )
    if any(cost is not None for cost in costs):
        rows = [
            [*row, cell]
            for row, cell in zip(rows, [f"cost, {(prices or Prices()).currency}", *map(money, costs)], strict=True)
        ]
    lines = [f"Results on {metrics['benchmark']}", *columns(rows)]
    pairs = [["paired difference", "points", "95 % interval", "n"]]
    for key, words in metrics["comparisons"]:
        if (pair := paired.get(key)) is not None:
            interval = interval_words(pair["low"], pair["high"])
            pairs.append([words, points(pair["difference"]), interval, f"{pair['n']}"])
    if len(pairs) > 1:
        lines += ["", *columns(pairs)]
    notices = [*metrics["notices"], *(reason for reasons in metrics["skipped"].values() for reason in reasons)]
    return [*lines, *([""] if notices else []), *notices]


def columns(rows: Sequence[Sequence[str]], *, left: int = 1) -> list[str]:
    """A table whose first `left` columns are words and stand at the left, and whose others are numbers."""
    widths = [max(len(row[number]) for row in rows) for number in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if number < left else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
