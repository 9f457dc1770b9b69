"""Majority vote over the answers of several responses to one prompt."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum

from retort.config.data import AnswerType
from retort.text.equal import canonical, same_answer

_ROUNDING = 1e-12
"""Relative difference below which two sums of weights are a tie: 0.1 + 0.2 ties with 0.3."""


@dataclass(frozen=True, slots=True)
class Vote:
    """The outcome of a vote."""

    label: str | None
    """The winning answer as most of its voters wrote it; None when the vote abstains."""
    votes: int
    """Responses that gave the winning answer, also when the vote abstains."""
    total: int
    """Responses counted, those without a readable answer included."""
    share: float
    """Weight of the winner / weight of all responses; votes / total where every response weighs the same."""
    margin: float
    """(Weight of the winner - weight of the runner-up) / weight of all responses."""
    abstained: bool


def majority_vote(
    answers: Sequence[str | None],
    kind: AnswerType,
    *,
    weights: Sequence[float] | None = None,
    min_share: float = 0.0,
    min_margin: float = 0.0,
) -> Vote:
    """Vote on the answers to one prompt, grouped by value.

    The order of the responses has no influence. A tie for the first place abstains, as do a share below `min_share`,
    a margin below `min_margin`, and a prompt without any answer (self-consistency: Wang et al. 2023, §2; with
    weights, its weighted sum).

    Args:
        answers: One entry a response; None where no answer could be read, which counts in the total.
        kind: Kind of the answers.
        weights: What each response counts, not negative; None counts every response once.
        min_share: Least share of all responses that the winner needs.
        min_margin: Least lead over the runner-up, as a share of all responses.

    Raises:
        ValueError: there are not as many weights as answers, or one is negative or not a number.
    """
    return elect(group_answers(answers, kind), answers, weights, min_share=min_share, min_margin=min_margin)


def elect(
    groups: Sequence[Counter[str]],
    answers: Sequence[str | None],
    weights: Sequence[float] | None = None,
    *,
    min_share: float = 0.0,
    min_margin: float = 0.0,
) -> Vote:
    """`majority_vote` over answers that `group_answers` has grouped already."""
    total = len(answers)
    if not groups:
        return Vote(None, 0, total, 0.0, 0.0, True)
    if weights is None:
        scores, whole = [float(group.total()) for group in groups], float(total)
    else:
        scores, whole = _weigh(groups, answers, weights)
    best = max(scores)
    place = scores.index(best)
    runner_up = max((score for other, score in enumerate(scores) if other != place), default=0.0)
    share, margin = (best / whole, (best - runner_up) / whole) if whole else (0.0, 0.0)
    tie = best - runner_up <= _ROUNDING * best
    abstained = tie or share < min_share or margin < min_margin
    winner = groups[place]
    return Vote(None if abstained else label_of(winner), winner.total(), total, share, margin, abstained)


def group_answers(answers: Sequence[str | None], kind: AnswerType) -> list[Counter[str]]:
    """Group answers of equal value: one counter of spellings a group, in an order that depends on values alone."""
    spellings = Counter(answer for answer in answers if answer is not None)
    groups: dict[str, Counter[str]] = {}
    percent = False
    for spelling in sorted(spellings):
        groups.setdefault(canonical(spelling, kind), Counter())[spelling] = spellings[spelling]
        percent = percent or spelling.endswith("%")
    if percent and kind == "number":
        _place_percentages(groups, kind)
    merged = [groups[key] for key in sorted(groups)]
    return _merge_equivalent(merged) if kind == "expression" else merged


def label_of(group: Counter[str]) -> str:
    """The spelling that most voters used; the shortest, then the first in the alphabet, among equals."""
    return min(group, key=lambda spelling: (spelling.endswith("%"), -group[spelling], len(spelling), spelling))


def _weigh(
    groups: Sequence[Counter[str]], answers: Sequence[str | None], weights: Sequence[float]
) -> tuple[list[float], float]:
    """Weight of each group and of all responses; `fsum` is exact, so the order of responses has no influence."""
    if any(not weight >= 0 for weight in weights):
        raise ValueError("weights of responses must be numbers of at least 0")
    by_spelling: dict[str | None, list[float]] = defaultdict(list)
    for answer, weight in zip(answers, weights, strict=True):
        by_spelling[answer].append(weight)
    scores = [fsum(weight for spelling in group for weight in by_spelling[spelling]) for group in groups]
    return scores, fsum(weights)


def _place_percentages(groups: dict[str, Counter[str]], kind: AnswerType) -> None:
    """Count "50%" with those who answered 50, unless others answered 0.5 (whose key it has already)."""
    for key in sorted(groups):
        if all(spelling.endswith("%") for spelling in groups[key]):
            bare = canonical(min(groups[key]).rstrip("%"), kind)
            if bare in groups and bare != key:
                groups[bare].update(groups.pop(key))


def _merge_equivalent(groups: list[Counter[str]]) -> list[Counter[str]]:
    merged: list[Counter[str]] = []
    for group in groups:
        same = next((other for other in merged if same_answer(label_of(other), label_of(group), "expression")), None)
        if same is None:
            merged.append(Counter(group))
        else:
            same.update(group)
    return merged
