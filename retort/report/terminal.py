"""The result table as plain text for a terminal, from the content of `metrics.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from retort.report.scores import PAIRS
from retort.report.words import NAMES, pair_name, percent, points


def result_lines(metrics: Mapping[str, Any]) -> list[str]:
    """Accuracy of every model and the paired differences, one line each."""
    models, paired = metrics["models"], metrics["paired"]
    rows = [["model", "accuracy", "95 % interval", "unparsed", "tokens", "n"]]
    for name in (name for name in NAMES if name in models):
        score = models[name]
        interval = f"{100 * score['low']:.1f} – {100 * score['high']:.1f}"
        rows.append(
            [
                NAMES[name],
                percent(score["accuracy"]),
                interval,
                percent(score["unparsed_rate"]),
                f"{score['mean_response_tokens']:.1f}",
                f"{score['n']}",
            ]
        )
    lines = [f"Results on {metrics['benchmark']}", *_columns(rows)]
    pairs = [["paired difference", "points", "95 % interval", "n"]]
    for key in (key for key in PAIRS if key in paired):
        pair = paired[key]
        pairs.append(
            [
                pair_name(key),
                points(pair["difference"]),
                f"{points(pair['low'])} to {points(pair['high'])}",
                f"{pair['n']}",
            ]
        )
    if len(pairs) > 1:
        lines += ["", *_columns(pairs)]
    if metrics.get("gate_passed") is False:
        lines += [
            "",
            "The reward model did not pass its gate: PPO was skipped, and the SFT student is the result.",
            *metrics.get("gate_reasons", []),
        ]
    return lines


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[number]) for row in rows) for number in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if number == 0 else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
