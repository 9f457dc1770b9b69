"""How sure a label is, as a probability: what the vote's share and margin are worth, learned from all prompts.

Two estimates, both isotonic in the mean of share and margin:

agreement: needs no gold answers. Each response is held out in turn, and the others vote; the estimate is how often a
    held-out response agrees with a vote of that share and margin. It is the probability that one more response
    would give the label, corrected for the winner's luck (a share measured on the voters themselves is too high). It is
    not the probability that the label is right: an error that the samples share counts as agreement, and a label
    with a share of one half is right more often than one response is.
gold: the probability that the label is right, learned from prompts whose gold answer is known. A prompt's own gold
    answer never enters its own confidence: prompts are divided into folds, and each fold's are read off the others'.
"""

from __future__ import annotations

import zlib
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from retort.votes.majority import Vote

FOLDS = 5
"""Folds of the gold estimate."""

_RARE = 0.01
"""Share of all comparisons under which a score is too rare to have a value of its own."""
_ROUNDING = 1e-9
"""Relative difference of two sums of weights that is a tie."""

LEAST_KNOWN = 50
"""Labels with a gold answer below which the gold estimate would be mostly chance."""


@dataclass(frozen=True)
class Isotonic:
    """A non-decreasing step function."""

    starts: list[float]
    """Lowest score of each step, ascending."""
    values: list[float]
    """Value of each step."""

    def __call__(self, score: float) -> float:
        """The value at `score`; below the first step, the first value."""
        return self.values[max(0, bisect_right(self.starts, score) - 1)]


def isotonic(points: Iterable[tuple[float, float, float]]) -> Isotonic:
    """Least-squares fit of a non-decreasing function by pooling adjacent violators (Ayer et al. 1955).

    Args:
        points: (score, mean outcome, weight) in any order, scores may repeat.

    Raises:
        ValueError: there is no point with a weight above 0.
    """
    sums: dict[float, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for score, outcome, weight in points:
        sums[score][0] += outcome * weight
        sums[score][1] += weight
    blocks: list[list[float]] = []  # start, sum, weight
    for score in sorted(score for score, (_, weight) in sums.items() if weight > 0):
        blocks.append([score, *sums[score]])
        while len(blocks) > 1 and blocks[-2][1] * blocks[-1][2] >= blocks[-1][1] * blocks[-2][2]:
            _, total, weight = blocks.pop()
            blocks[-1][1] += total
            blocks[-1][2] += weight
    if not blocks:
        raise ValueError("no point to fit")
    return Isotonic([start for start, _, _ in blocks], [total / weight for _, total, weight in blocks])


def _without_rare_scores(counts: Mapping[float, Sequence[float]]) -> list[tuple[float, float, float]]:
    """(score, share that agreed, comparisons); a score of under 1 % of all comparisons joins the next higher one.

    Two responses that could not be read are enough for a score of their own, and every label below the next score
    would have the confidence of these two.
    """
    least = _RARE * sum(compared for _, compared in counts.values())
    points: list[tuple[float, float, float]] = []
    start, agreed, compared = None, 0.0, 0.0
    for score in sorted(counts):
        start = score if start is None else start
        agreed, compared = agreed + counts[score][0], compared + counts[score][1]
        if compared >= least and compared:
            points.append((start, agreed / compared, compared))
            start, agreed, compared = None, 0.0, 0.0
    if compared and points:
        last = points.pop()
        points.append((last[0], (last[1] * last[2] + agreed) / (last[2] + compared), last[2] + compared))
    return points


def score_of(share: float, margin: float) -> float:
    """What confidence rises with; rounded, so that shares that differ by rounding are one."""
    return round((share + margin) / 2, 6)


@dataclass
class HeldOutAgreement:
    """Counts how often a held-out response agrees with the vote of the others."""

    counts: dict[float, list[float]] = field(default_factory=lambda: defaultdict(lambda: [0.0, 0.0]))
    """For each score of the others' vote: agreements, comparisons."""

    def add(
        self, groups: Sequence[Counter[str]], answers: Sequence[str | None], weights: Sequence[float] | None
    ) -> None:
        """Take one prompt in; in closed form, so the order of responses has no influence.

        Args:
            groups: Its answers grouped by value.
            answers: One entry a response, None where no answer could be read.
            weights: What each response counts; None counts each once.
        """
        if len(answers) < 2:
            return
        if weights is None:
            counts = tuple(sorted((group.total() for group in groups), reverse=True))
            outcomes = _of_counts(counts, len(answers) - sum(counts))
        else:
            outcomes = _outcomes(len(groups), _members(groups, answers, weights))
        for score, agreed, compared in outcomes:
            tally = self.counts[score]
            tally[0] += agreed
            tally[1] += compared

    def fit(self) -> Isotonic | None:
        """Probability that one more response agrees with a vote of a score; None where nothing could be compared."""
        points = _without_rare_scores(self.counts)
        return isotonic(points) if points else None


def _members(
    groups: Sequence[Counter[str]], answers: Sequence[str | None], weights: Sequence[float]
) -> dict[tuple[int, float], int]:
    """How many responses of each group (-1: unparsed) have each weight, in an order that depends on values alone."""
    place_of = {spelling: place for place, group in enumerate(groups) for spelling in group}
    pairs = zip(answers, weights, strict=True)
    members = Counter((-1 if answer is None else place_of[answer], weight) for answer, weight in pairs)
    return {key: members[key] for key in sorted(members)}


_Outcomes = list[tuple[float, int, int]]
"""Score of the others' vote, held-out responses that agree with it, held-out responses compared with it."""


@lru_cache(maxsize=1 << 16)
def _of_counts(counts: tuple[int, ...], unparsed: int) -> _Outcomes:
    """Outcomes where each response counts once: they depend on the groups' sizes alone."""
    held = {(place, 1.0): count for place, count in enumerate(counts)}
    return _outcomes(len(counts), held | ({(-1, 1.0): unparsed} if unparsed else {}))


def _outcomes(groups: int, held: dict[tuple[int, float], int]) -> _Outcomes:
    whole = sum(weight * count for (_, weight), count in held.items())
    scores, sizes, found = [0.0] * groups, [0] * groups, []
    for (place, weight), count in held.items():
        if place >= 0:
            scores[place] += weight * count
            sizes[place] += count
    # Without one response, the first two are among these and its own group.
    ranked = sorted(range(groups), key=lambda place: -scores[place])[:3]
    for (place, weight), count in held.items():
        rest = whole - weight
        left = {other: scores[other] - weight * (other == place) for other in ranked}
        if place >= 0 and sizes[place] == 1:
            left.pop(place, None)
        order = sorted(left.items(), key=lambda item: -item[1])
        second = order[1][1] if len(order) > 1 else 0.0
        if not order or rest <= 0 or order[0][1] - second <= _ROUNDING * order[0][1]:
            continue
        score = score_of(order[0][1] / rest, (order[0][1] - second) / rest)
        found.append((score, count * (order[0][0] == place), count))
    return found


def gold_confidence(votes: Sequence[Vote], correct: Sequence[bool | None], keys: Sequence[str]) -> list[float | None]:
    """Probability that each label is right, from the labels whose gold answer is known.

    Args:
        votes: One a prompt.
        correct: Whether the label is right; None where that is not known.
        keys: Names of the prompts, which decide their fold.

    Returns:
        One a prompt; None where the vote abstains or fewer than `LEAST_KNOWN` labels could be learned from.
    """
    points = {
        place: (score_of(vote.share, vote.margin), float(right), 1.0)
        for place, (vote, right) in enumerate(zip(votes, correct, strict=True))
        if right is not None and not vote.abstained
    }
    if len(points) < LEAST_KNOWN:
        return [None] * len(votes)
    ranked = sorted(points, key=lambda place: (zlib.crc32(keys[place].encode()), keys[place]))
    fold_of = {place: rank % FOLDS for rank, place in enumerate(ranked)}
    fits = [isotonic(point for place, point in points.items() if fold_of[place] != fold) for fold in range(FOLDS)]
    everything = isotonic(points.values())
    fit_of = [fits[fold_of[place]] if place in fold_of else everything for place in range(len(votes))]
    return [
        None if vote.abstained else fit(score_of(vote.share, vote.margin))
        for vote, fit in zip(votes, fit_of, strict=True)
    ]
