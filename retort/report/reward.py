"""What the reward model says about held-out responses, by source and label, and how calibrated it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from retort.tables import REWARD_PREDICTIONS, Rows, read_table

BINS = 15
"""Equal bins of predicted probability, as in the expected calibration error of the gate."""
HISTOGRAM_BINS = 20


@dataclass(frozen=True)
class Bin:
    """Responses whose predicted probability falls into one bin."""

    predicted: float
    """Mean prediction."""
    observed: float
    """Share of positive ones."""
    n: int


@dataclass(frozen=True)
class Reliability:
    """Distributions and calibration of the reward model's scores on held-out prompts."""

    n: int
    histograms: dict[str, dict[int, list[tuple[float, float]]]]
    """Source, then label: (left edge, share of that source's responses with that label)."""
    by_label: list[Bin]
    """Against the pseudo-labels."""
    by_gold: list[Bin]
    """Against the gold answers, where known."""


def summarise_reward(file: Path) -> Reliability | None:
    """Summarise the scores in `file`; None when the reward stage left none."""
    if not file.exists():
        return None
    # The other part chose the training step and fitted the calibration: it would flatter the model.
    rows = [row for row in read_table(file, REWARD_PREDICTIONS) if row["part"] == "gate"]
    if not rows:
        return None
    known = [row for row in rows if row["correct"] is not None]
    return Reliability(
        n=len(rows),
        histograms={source: _histograms([row for row in rows if row["source"] == source]) for source in _sources(rows)},
        by_label=calibration_bins([row["score"] for row in rows], [row["label"] == 1 for row in rows]),
        by_gold=calibration_bins([row["score"] for row in known], [row["correct"] for row in known]),
    )


def calibration_bins(scores: Sequence[float], positive: Sequence[bool], bins: int = BINS) -> list[Bin]:
    """Mean prediction and observed share in equal bins of [0, 1]; empty bins are left out."""
    inside: dict[int, list[tuple[float, bool]]] = {}
    for score, is_positive in zip(scores, positive, strict=True):
        inside.setdefault(min(bins - 1, int(score * bins)), []).append((score, is_positive))
    return [
        Bin(sum(score for score, _ in pairs) / len(pairs), sum(yes for _, yes in pairs) / len(pairs), len(pairs))
        for _, pairs in sorted(inside.items())
    ]


def _sources(rows: Rows) -> list[str]:
    return sorted({row["source"] for row in rows}, reverse=True)  # teacher before student


def _histograms(rows: Rows) -> dict[int, list[tuple[float, float]]]:
    found = {}
    for label in sorted({int(row["label"]) for row in rows}, reverse=True):
        scores = [row["score"] for row in rows if row["label"] == label]
        counts = [0] * HISTOGRAM_BINS
        for value in scores:
            counts[min(HISTOGRAM_BINS - 1, int(value * HISTOGRAM_BINS))] += 1
        found[label] = [(number / HISTOGRAM_BINS, count / len(scores)) for number, count in enumerate(counts)]
    return found
