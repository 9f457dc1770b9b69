"""Majority vote over the answers of several responses to one prompt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from retort.config.data import AnswerType
from retort.text.equal import canonical, same_answer


@dataclass(frozen=True)
class Vote:
    """The outcome of a vote."""

    label: str | None
    """The winning answer as most of its voters wrote it; None when the vote abstains."""
    votes: int
    """Responses that gave the winning answer, also when the vote abstains."""
    total: int
    """Responses counted, those without a readable answer included."""
    share: float
    """votes / total; 0 where there was no response."""
    margin: float
    """(votes - votes of the runner-up) / total."""
    abstained: bool


def majority_vote(
    answers: Sequence[str | None], kind: AnswerType, *, min_share: float = 0.0, min_margin: float = 0.0
) -> Vote:
    """Vote on the answers to one prompt, grouped by value.

    The order of `answers` has no influence. A tie for the first place abstains, as do a share below `min_share`, a
    margin below `min_margin`, and a prompt without any answer (self-consistency: Wang et al. 2023, §2).

    Args:
        answers: One entry a response; None where no answer could be read, which counts in the total.
        kind: Kind of the answers.
        min_share: Least share of all responses that the winner needs.
        min_margin: Least lead over the runner-up, as a share of all responses.
    """
    groups = group_answers(answers, kind)
    total = len(answers)
    if not groups:
        return Vote(None, 0, total, 0.0, 0.0, True)
    counts = sorted((sum(group.values()) for group in groups), reverse=True)
    votes, runner_up = counts[0], counts[1] if len(counts) > 1 else 0
    share, margin = votes / total, (votes - runner_up) / total
    abstained = votes == runner_up or share < min_share or margin < min_margin
    winner = next(group for group in groups if sum(group.values()) == votes)
    return Vote(None if abstained else _label(winner), votes, total, share, margin, abstained)


def group_answers(answers: Sequence[str | None], kind: AnswerType) -> list[Counter[str]]:
    """Group answers of equal value: one counter of spellings a group, in an order that depends on values alone."""
    spellings = Counter(answer for answer in answers if answer is not None)
    groups: dict[str, Counter[str]] = {}
    for spelling in sorted(spellings):
        groups.setdefault(canonical(spelling, kind), Counter())[spelling] = spellings[spelling]
    if kind == "number":
        _place_percentages(groups, kind)
    merged = [groups[key] for key in sorted(groups)]
    return _merge_equivalent(merged) if kind == "expression" else merged


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
        same = next((other for other in merged if same_answer(_label(other), _label(group), "expression")), None)
        if same is None:
            merged.append(Counter(group))
        else:
            same.update(group)
    return merged


def _label(group: Counter[str]) -> str:
    """The spelling that most voters used; the shortest, then the first in the alphabet, among equals."""
    return min(group, key=lambda spelling: (spelling.endswith("%"), -group[spelling], len(spelling), spelling))
