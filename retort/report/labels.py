"""How good the pseudo-labels are: how many prompts got one, and how often it is right where that is known."""

from __future__ import annotations

from dataclasses import dataclass

from retort.io.tables import Rows


@dataclass(frozen=True)
class AtCoverage:
    """Labels kept when the vote's share must be at least `share`."""

    share: float
    coverage: float
    """Kept labels / prompts."""
    accuracy: float
    """Right ones among the kept labels whose gold answer is known."""
    n: int
    """Kept labels whose gold answer is known."""


@dataclass(frozen=True)
class LabelQuality:
    """Quality of the vote over all train and validation prompts."""

    prompts: int
    labelled: int
    abstained: int
    coverage: float
    known: int
    """Labels whose gold answer is known."""
    accuracy: float | None
    """Right labels / labels with a known gold answer."""
    mean_share: float
    mean_margin: float
    at_coverage: list[AtCoverage]
    """One entry for each share that occurs, the strictest first."""
    shares: list[tuple[float, float]]
    """Histogram: (left edge of a bin a tenth wide, share of the prompts)."""


def summarise_votes(rows: Rows) -> LabelQuality:
    """Summarise the table of votes, which must not be empty."""
    labelled = [row for row in rows if not row["abstained"]]
    known = [row for row in labelled if row["correct"] is not None]
    counts = [0] * 10
    for row in rows:
        counts[min(9, int(row["share"] * 10 + 1e-6))] += 1
    return LabelQuality(
        prompts=len(rows),
        labelled=len(labelled),
        abstained=len(rows) - len(labelled),
        coverage=len(labelled) / len(rows),
        known=len(known),
        accuracy=sum(row["correct"] for row in known) / len(known) if known else None,
        mean_share=sum(row["share"] for row in rows) / len(rows),
        mean_margin=sum(row["margin"] for row in rows) / len(rows),
        at_coverage=_at_coverage(labelled, len(rows)),
        shares=[(number / 10, count / len(rows)) for number, count in enumerate(counts)],
    )


def _at_coverage(labelled: Rows, prompts: int) -> list[AtCoverage]:
    points = []
    # Shares are fractions with a small denominator: rounding joins those that differ by float32 noise alone.
    for share in sorted({round(row["share"], 4) for row in labelled}, reverse=True):
        kept = [row for row in labelled if round(row["share"], 4) >= share]
        known = [row for row in kept if row["correct"] is not None]
        if known:
            right = sum(row["correct"] for row in known)
            points.append(AtCoverage(share, len(kept) / prompts, right / len(known), len(known)))
    return points
