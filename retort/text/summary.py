"""Voting on many prompts and summing up how good the labels are: shared by the `votes` stage and `retort vote`."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from retort.config.data import AnswerType
from retort.text.equal import same_answer
from retort.text.extract import read_answer
from retort.text.label_metrics import (
    accuracy_at_coverage,
    agreement,
    answer_entropy,
    label_quality,
    maj_at_k,
    pass_at_k,
)
from retort.text.vote import Vote, group_answers, majority_vote

_CURVE_POINTS = 20


@dataclass
class Ballot:
    """The answers to one prompt, as they are collected."""

    gold: str | None = None
    values: list[str | None] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    """What accuracy is told apart by: the temperature, or the model that answered."""

    def add(self, response: str, kind_of_answer: AnswerType, kind_of_sample: str, rules: Counter[str]) -> None:
        """Read a response's answer and count it; `rules` counts which rule read it."""
        answer = read_answer(response, kind_of_answer)
        self.values.append(answer.value if answer else None)
        self.kinds.append(kind_of_sample)
        if answer:
            rules[answer.rule] += 1


@dataclass(frozen=True)
class VoteSummary:
    """Label quality; what needs gold answers is over the prompts that have one, and None or empty where none has."""

    prompts: int
    responses: int
    prompts_without_responses: int
    coverage: float
    """Share of prompts that have a label."""
    abstained: int
    accuracy: float | None
    """Share of labels that equal the gold answer."""
    known: int
    """Labels whose gold answer is known."""
    mean_share: float
    """Mean share of responses that gave the winning answer."""
    agreement: float
    """Mean probability that two responses to a prompt give the same answer."""
    entropy: float
    """Mean entropy of a prompt's answers, in nats."""
    unparsed_share: float
    """Share of responses in which no answer could be read."""
    sample_accuracy: float | None
    """Share of single responses whose answer equals the gold answer."""
    sample_accuracy_by: dict[str, float]
    """The same for each temperature or model."""
    pass_at_k: dict[str, float]
    """Probability that k responses hold a right answer; over prompts with at least k responses."""
    maj_at_k: dict[str, float]
    """Probability that a vote over k responses is right, ties counted as wrong."""
    accuracy_at_coverage: list[list[float]]
    """[share of labels kept, their accuracy], most confident votes first; at most 20 points."""
    rules: dict[str, int]
    """How many answers each extraction rule read."""


def vote_on(
    ballots: Sequence[Ballot], kind: AnswerType, *, min_share: float = 0.0, min_margin: float = 0.0
) -> list[Vote]:
    """The vote on each ballot."""
    return [majority_vote(ballot.values, kind, min_share=min_share, min_margin=min_margin) for ballot in ballots]


def label_correct(vote: Vote, gold: str | None, kind: AnswerType) -> bool | None:
    """Whether the label equals the gold answer; None where either is missing."""
    return None if vote.label is None or gold is None else same_answer(vote.label, gold, kind)


def summarise(ballots: Sequence[Ballot], votes: Sequence[Vote], kind: AnswerType, rules: Counter[str]) -> VoteSummary:
    """Measure the labels and the responses that they come from."""
    correct = [label_correct(vote, ballot.gold, kind) for ballot, vote in zip(ballots, votes, strict=True)]
    quality = label_quality([vote.share for vote in votes], correct, [vote.abstained for vote in votes])
    groups = [[sum(group.values()) for group in group_answers(ballot.values, kind)] for ballot in ballots]
    answered = [(counts, vote.total) for counts, vote in zip(groups, votes, strict=True) if vote.total]
    responses = sum(vote.total for vote in votes)
    judged = [(vote.share, right) for vote, right in zip(votes, correct, strict=True) if right is not None]
    curve = accuracy_at_coverage([share for share, _ in judged], [right for _, right in judged])
    by_kind, passes, majorities = _against_gold(ballots, kind)
    return VoteSummary(
        prompts=len(ballots),
        responses=responses,
        prompts_without_responses=sum(vote.total == 0 for vote in votes),
        coverage=quality.coverage,
        abstained=sum(vote.abstained for vote in votes),
        accuracy=quality.accuracy,
        known=quality.known,
        mean_share=quality.mean_share,
        agreement=_mean([agreement(counts, total) for counts, total in answered]),
        entropy=_mean([answer_entropy(counts, total - sum(counts)) for counts, total in answered]),
        unparsed_share=1 - sum(rules.values()) / responses if responses else 0.0,
        sample_accuracy=_mean([right for some in by_kind.values() for right in some]) if by_kind else None,
        sample_accuracy_by={key: _mean(by_kind[key]) for key in sorted(by_kind)},
        pass_at_k={str(k): _mean(passes[k]) for k in sorted(passes)},
        maj_at_k={str(k): _mean(majorities[k]) for k in sorted(majorities)},
        accuracy_at_coverage=[list(curve[place]) for place in _spread(len(curve), _CURVE_POINTS)],
        rules=dict(sorted(rules.items())),
    )


def _against_gold(
    ballots: Sequence[Ballot], kind: AnswerType
) -> tuple[dict[str, list[bool]], dict[int, list[float]], dict[int, list[float]]]:
    by_kind: dict[str, list[bool]] = defaultdict(list)
    passes: dict[int, list[float]] = defaultdict(list)
    majorities: dict[int, list[float]] = defaultdict(list)
    for ballot in ballots:
        if ballot.gold is None or not ballot.values:
            continue
        is_right = [value is not None and same_answer(value, ballot.gold, kind) for value in ballot.values]
        for sample, one_right in zip(ballot.kinds, is_right, strict=True):
            by_kind[sample].append(one_right)
        total, right = len(is_right), sum(is_right)
        others = [value for value, ok in zip(ballot.values, is_right, strict=True) if value is not None and not ok]
        wrong = [sum(group.values()) for group in group_answers(others, kind)]
        for k in (1 << power for power in range(total.bit_length())):
            passes[k].append(pass_at_k(total, right, k))
            majorities[k].append(maj_at_k(right, wrong, total - right - sum(wrong), k))
    return by_kind, passes, majorities


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _spread(length: int, most: int) -> list[int]:
    """At most `most` indices, evenly spread, the last one among them."""
    return sorted({round((place + 1) * length / min(length, most)) - 1 for place in range(min(length, most))})
