"""Section of the page on the reward model: the gate's decision, its figures with intervals, scores and calibration."""

from __future__ import annotations

from typing import Any

from retort.report import words
from retort.report.charts import Series, histogram, reliability_chart
from retort.report.findings import Findings
from retort.report.html import figure, figures, paragraphs, table
from retort.report.reward import OfSource

HEAD = ("Held-out responses", "n", "AUC", "Accuracy", "Brier score", "Calibration error")
"""Columns of `reward_rows`."""
_FIGURES = ("auc", "accuracy", "brier", "calibration_error")


def reward_section(findings: Findings) -> str:
    """The whole section; empty where the reward stage left nothing."""
    decision = ""
    if findings.gate_passed is not None:
        decision = (
            "The gate passed: PPO may trust this model."
            if findings.gate_passed
            else "The gate failed: PPO was skipped."
        )
    rows = reward_rows(findings.stages.get("reward", {}))
    drawn = [_histogram(source, found) for source, found in findings.reliability.items()]
    drawn += [_reliability(source, found) for source, found in findings.reliability.items()]
    return paragraphs(decision, *words.gate_reasons(findings)) + (table(HEAD, rows) if rows else "") + figures(*drawn)


def reward_rows(metrics: dict[str, Any]) -> list[list[str]]:
    """The reward model's figures with their intervals: by source, by length, and against the truth."""
    groups = {f"{name} responses": found for name, found in (metrics.get("by_source") or {}).items()}
    for third in metrics.get("by_length") or []:
        groups[f"{third['shortest']} to {third['longest']} tokens"] = third["quality"]
    groups["all, against gold answers"] = metrics.get("truth")
    return [
        [name, f"{found['n']:,}", *(_with_interval(found, key) for key in _FIGURES)]
        for name, found in groups.items()
        if found
    ]


def _with_interval(found: dict[str, Any], key: str) -> str:
    """`0.917 [0.889, 0.941]`; without the brackets where there is no interval."""
    interval = (found.get("intervals") or {}).get(key)
    ends = f" [{words.decimals(interval[0])}, {words.decimals(interval[1])}]" if interval else ""
    return words.decimals(found[key]) + ends


def _histogram(source: str, found: OfSource) -> str:
    series = [
        Series({1: "agrees with the vote", 0: "does not"}[label], points, {1: 1, 0: 2}[label])
        for label, points in found.histograms.items()
    ]
    chart = histogram(
        series,
        label=f"Distribution of reward scores of {source} responses by label",
        x_label="score (probability of agreeing)",
        width=0.05,
    )
    return figure(f"Scores of {source} responses", chart, legend=[(item.name, item.colour) for item in series])


def _reliability(source: str, found: OfSource) -> str:
    bins: list[tuple[str, list[Any], int]] = [
        (name, some, colour)
        for name, some, colour in (("against the vote", found.by_label, 1), ("against the truth", found.by_gold, 2))
        if some
    ]
    chart = reliability_chart(
        [Series(name, [(item.predicted, item.observed) for item in some], colour) for name, some, colour in bins],
        label=f"{source.capitalize()} responses: predicted probability against the observed share",
        counts=[[item.n for item in some] for _, some, _ in bins],
        ranges=[(item.predicted, item.low, item.high) for item in found.by_label],
    )
    return figure(
        f"Reliability on {source} responses",
        chart,
        f"{found.n:,} held-out responses in 15 bins; larger dots hold more, and lines are 95 % intervals of the shares "
        "against the vote. On the dashed line, 80 % means 80 %.",
        legend=[(name, colour) for name, _, colour in bins],
    )
