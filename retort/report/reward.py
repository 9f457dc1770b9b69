"""What the reward model says about held-out responses, by source and label, and how calibrated it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from retort.evaluation.statistics import wilson_interval
from retort.io.tables import REWARD_PREDICTIONS, Rows, read_table
from retort.rewards.learned.calibration import BINS

HISTOGRAM_BINS = 20


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
    """Scores of the responses of one source, teacher or student."""

    n: int
    histograms: dict[int, list[tuple[float, float]]]
    """By label: (left edge, share of the responses with that label)."""
    by_label: list[Bin]
    """Against the pseudo-labels, in as many bins as the gate's expected calibration error."""
    by_gold: list[Bin]
    """Against the gold answers, where known."""


def summarise_reward(file: Path) -> dict[str, OfSource]:
    """Summarise the scores in `file` by source, teacher first; empty when the reward stage left none."""
    if not file.exists():
        return {}
    # The other part chose the training step and fitted the calibration: it would flatter the model.
    rows = [row for row in read_table(file, REWARD_PREDICTIONS) if row["part"] == "gate"]
    sources = sorted({row["source"] for row in rows}, reverse=True)
    return {source: _of_source([row for row in rows if row["source"] == source]) for source in sources}


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
