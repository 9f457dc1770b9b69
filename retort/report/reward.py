"""Learned rewards: the gate's decision, figures with intervals, scores by source and label, and calibration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from retort.evaluation.statistics import wilson_interval
from retort.io.tables import REWARD_PREDICTIONS, Rows, read_table
from retort.report.charts import Series, histogram, reliability_chart
from retort.report.curves import Curve
from retort.report.formats import decimals
from retort.report.html import figure, figures, paragraphs, table
from retort.rewards.learned.calibration import BINS

HISTOGRAM_BINS = 20

HEAD = ("Held-out responses", "n", "AUC", "Accuracy", "Brier score", "Calibration error")
"""Columns of `reward_rows`."""
_FIGURES = ("auc", "accuracy", "brier", "calibration_error")

Naming = Callable[[str], str]
"""What a source of responses, the name of a model, is called within a sentence."""


@dataclass(frozen=True)
class Bin:
    """Responses whose predicted probability falls into one bin."""

    predicted: float
    """Mean prediction."""
    observed: float
    """Share of positive ones."""
    low: float
    """Lower end of that share's 95 % Wilson interval."""
    high: float
    """Its upper end."""
    n: int


@dataclass(frozen=True)
class OfSource:
    """Scores of the responses of one model."""

    n: int
    histograms: dict[int, list[tuple[float, float]]]
    """By label: (left edge, share of the responses with that label)."""
    by_label: list[Bin]
    """Against the pseudo-labels, in as many bins as the gate's expected calibration error."""
    by_gold: list[Bin]
    """Against the gold answers, where known."""


@dataclass(frozen=True)
class LearnedReward:
    """A reward that the run trained."""

    name: str
    words: str
    """What sentences call it, with its article."""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    """Those of its task."""
    reliability: Mapping[str, OfSource] = field(default_factory=dict)
    """Scores and calibration by source; empty where there are none."""
    curves: Mapping[str, Curve] = field(default_factory=dict)
    worst_high: Rows = field(default_factory=list)
    """Held-out responses that it scored highest though they are wrong, see `worst`."""
    worst_low: Rows = field(default_factory=list)
    """Those that it scored lowest though they are right."""

    @property
    def gate_passed(self) -> bool | None:
        """Whether students may be trained against it; None where that is not known."""
        return self.metrics.get("gate_passed")

    @property
    def gate_reasons(self) -> list[str]:
        """Why not."""
        return [str(reason) for reason in self.metrics.get("gate_reasons") or []]

    @property
    def auc(self) -> float | None:
        """The gate's AUC on held-out prompts."""
        found = self.metrics.get("auc")
        return found if isinstance(found, float) else None

    def as_metrics(self) -> dict[str, Any]:
        """Its part of `metrics.json`."""
        return {
            "gate_passed": self.gate_passed,
            "gate_reasons": self.gate_reasons,
            "auc": self.auc,
            "reliability": {source: asdict(found) for source, found in self.reliability.items()},
        }


def summarise_reward(file: Path, order: Sequence[str] = ()) -> dict[str, OfSource]:
    """Summarise the scores in `file` by source, in the order of the models; empty when the stage left none."""
    if not file.exists():
        return {}
    # The other part chose the training step and fitted the calibration: it would flatter the model.
    rows = [row for row in read_table(file, REWARD_PREDICTIONS) if row["part"] == "gate"]
    found = sorted({row["source"] for row in rows})
    sources = [*(name for name in order if name in found), *(name for name in found if name not in order)]
    return {source: _of_source([row for row in rows if row["source"] == source]) for source in sources}


def worst(file: Path, prompts: Mapping[str, str], count: int) -> tuple[Rows, Rows]:
    """Wrong responses scored highest and right ones scored lowest, `count` of each, with `prompt` and `right`.

    Right is what equals the gold answer where that is known, else the pseudo-label. One a prompt.
    """
    if not file.exists():
        return [], []
    rows = [
        row | {"right": bool(row["label"] if row["correct"] is None else row["correct"])}
        for row in read_table(file, REWARD_PREDICTIONS)
        if row["part"] == "gate"
    ]
    rows = [row | {"prompt": prompts.get(row["prompt_id"], "")} for row in rows]
    wrong = sorted((row for row in rows if not row["right"]), key=lambda row: -row["score"])
    right = sorted((row for row in rows if row["right"]), key=lambda row: row["score"])
    return _one_a_prompt(wrong)[:count], _one_a_prompt(right)[:count]


def _one_a_prompt(rows: Rows) -> Rows:
    found: dict[str, Any] = {}
    for row in rows:
        found.setdefault(row["prompt_id"], row)
    return list(found.values())


def calibration_bins(scores: Sequence[float], positive: Sequence[bool], bins: int = BINS) -> list[Bin]:
    """Mean prediction and observed share in equal bins of [0, 1]; empty bins are left out."""
    inside: dict[int, list[tuple[float, bool]]] = {}
    for score, is_positive in zip(scores, positive, strict=True):
        inside.setdefault(min(bins - 1, int(score * bins)), []).append((score, is_positive))
    found = []
    for _, pairs in sorted(inside.items()):
        right = sum(yes for _, yes in pairs)
        low, high = wilson_interval(right, len(pairs))
        found.append(Bin(sum(score for score, _ in pairs) / len(pairs), right / len(pairs), low, high, len(pairs)))
    return found


def _of_source(rows: Rows) -> OfSource:
    known = [row for row in rows if row["correct"] is not None]
    return OfSource(
        n=len(rows),
        histograms=_histograms(rows),
        by_label=calibration_bins([row["score"] for row in rows], [row["label"] == 1 for row in rows]),
        by_gold=calibration_bins([row["score"] for row in known], [row["correct"] for row in known]),
    )


def _histograms(rows: Rows) -> dict[int, list[tuple[float, float]]]:
    found = {}
    for label in sorted({int(row["label"]) for row in rows}, reverse=True):
        scores = [row["score"] for row in rows if row["label"] == label]
        counts = [0] * HISTOGRAM_BINS
        for value in scores:
            counts[min(HISTOGRAM_BINS - 1, int(value * HISTOGRAM_BINS))] += 1
        found[label] = [(number / HISTOGRAM_BINS, count / len(scores)) for number, count in enumerate(counts)]
    return found


def reward_section(reward: LearnedReward, students: Sequence[str], naming: Naming, *drawn: str) -> str:
    """What the page says of one learned reward.

    Args:
        students: Students that are trained against it, as sentences name them.
        naming: What sources are called.
        drawn: Further figures.
    """
    who = " and ".join(students) or "a student"
    decision = ""
    if reward.gate_passed is not None:
        opened, shut = f"The gate passed: {who} was trained against it.", f"The gate failed: {who} was skipped."
        decision = opened if reward.gate_passed else shut if students else "The gate failed."
    rows = reward_rows(reward.metrics, naming)
    plots = [_histogram(naming(source), found) for source, found in reward.reliability.items()]
    plots += [_reliability(naming(source), found) for source, found in reward.reliability.items()]
    return paragraphs(decision, *reward.gate_reasons) + (table(HEAD, rows) if rows else "") + figures(*plots, *drawn)


def reward_rows(metrics: Mapping[str, Any], naming: Naming = str) -> list[list[str]]:
    """The reward model's figures with their intervals: by source, by length, and against the truth."""
    groups = {f"{naming(name)} responses": found for name, found in (metrics.get("by_source") or {}).items()}
    for third in metrics.get("by_length") or []:
        groups[f"{third['shortest']} to {third['longest']} tokens"] = third["quality"]
    groups["all, against gold answers"] = metrics.get("truth")
    return [
        [name, f"{found['n']:,}", *(_with_interval(found, key) for key in _FIGURES)]
        for name, found in groups.items()
        if found
    ]


def _with_interval(found: Mapping[str, Any], key: str) -> str:
    """`0.917 [0.889, 0.941]`; without the brackets where there is no interval."""
    interval = (found.get("intervals") or {}).get(key)
    ends = f" [{decimals(interval[0])}, {decimals(interval[1])}]" if interval and interval[0] < interval[1] else ""
    return decimals(found[key]) + ends


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
        label=f"{source[:1].upper()}{source[1:]} responses: predicted probability against the observed share",
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
