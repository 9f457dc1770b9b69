"""Voting on many prompts and summing up how good the labels are: shared by the `votes` stage and `retort vote`."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from math import fsum

from retort.config.data import AnswerType, VotesConfig
from retort.text.equal import same_answer
from retort.text.gold import readable_gold
from retort.votes.answers import Ballot, Counts, Origin
from retort.votes.confidence import HeldOutAgreement, gold_confidence, score_of
from retort.votes.label_metrics import (
    accuracy_at_coverage,
    agreement,
    answer_entropy,
    brier,
    label_quality,
    maj_at_k,
    pass_at_k,
)
from retort.votes.majority import Vote, elect, group_answers
from retort.votes.weights import SourceWeights, probability_weights

_log = logging.getLogger(__name__)
_CURVE_POINTS = 20
_SHOWN = 3
"""Unread gold answers that are named."""
_MOST_DRAWN = 64
"""Greatest k of pass@k and maj@k."""


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
    """Mean share of the winning answer."""
    agreement: float
    """Mean probability that two responses to a prompt give the same answer."""
    entropy: float
    """Mean entropy of a prompt's answers, in nats."""
    unparsed_share: float
    """Share of responses in which no answer could be read."""
    sample_accuracy: float | None
    """Share of single responses whose answer equals the gold answer."""
    sample_accuracy_by_model: dict[str, float]
    sample_accuracy_by_temperature: dict[str, float]
    """Over the responses whose temperature is known."""
    source_weights: dict[str, float]
    """What a vote of each model counted, where votes were weighed by source."""
    confidence: str
    """What the labels' confidence estimates: `agreement` or `gold` (see votes.confidence)."""
    mean_confidence: float | None
    """Mean confidence of the labels; to be held against `accuracy`."""
    brier: dict[str, float]
    """Mean squared error of each estimate of a label's rightness: `share` as it is, `agreement`, and cross-fitted
    `gold` where enough gold answers are known. Smaller is better."""
    pass_at_k: dict[str, float]
    """Probability that k responses hold a right answer; over prompts with at least k responses."""
    maj_at_k: dict[str, float]
    """Probability that a vote over k responses is right, ties counted as wrong, each response counted once."""
    accuracy_at_coverage: list[list[float]]
    """[share of labels kept, their accuracy], highest shares first; at most 20 points."""
    unread_gold: int
    """Gold answers that are none of their kind, and so count as unknown."""
    not_whole: dict[str, int]
    """Responses that were cut off, filtered or stopped otherwise, which have no vote, by their finish reason."""
    rules: dict[str, int]
    """How many answers each extraction rule read."""


@dataclass(frozen=True)
class Labels:
    """The votes on a set of prompts, in their order."""

    votes: list[Vote]
    correct: list[bool | None]
    """Whether the label equals the gold answer; None where either is missing."""
    confidence: list[float | None]
    """Confidence of each label; None where the vote abstains or there is nothing to learn it from."""
    summary: VoteSummary


def count_votes(
    ballots: Mapping[str, Ballot], kind: AnswerType, config: VotesConfig, counts: Counts | None = None
) -> Labels:
    """Vote on every ballot and measure the labels.

    Args:
        ballots: Collected answers by prompt.
        kind: Kind of the answers.
        config: Thresholds, weights and kind of confidence.
        counts: What was read in the responses, for the summary.

    Raises:
        KeyError: `source_weights` lacks a model that answered.
        ValueError: votes are weighed by log-probability and a response has none.
    """
    return count_parts(lambda: [ballots], list(ballots), kind, config, counts)


def count_parts(
    parts: Callable[[], Iterable[Mapping[str, Ballot]]],
    prompts: Sequence[str],
    kind: AnswerType,
    config: VotesConfig,
    counts: Counts | None = None,
) -> Labels:
    """`count_votes` where the ballots lie in parts, one of which is in memory at a time; the result is the same.

    Args:
        parts: The parts, each prompt's ballot in one of them; called a second time where weights are learned.
        prompts: All prompts, in the order of the votes.
        kind: As for `count_votes`.
        config: As for `count_votes`.
        counts: As for `count_votes`.

    Raises:
        KeyError: `source_weights` lacks a model that answered.
        ValueError: votes are weighed by log-probability and a response has none, or a prompt has not one ballot.
    """
    sources = _source_weights(parts, kind, config)
    weigh = _weigher(config, sources)
    place_of = {name: place for place, name in enumerate(prompts)}
    tally, held_out, unread = _Tally(), HeldOutAgreement(), _UnreadGold(kind)
    votes: list[Vote | None] = [None] * len(prompts)
    correct: list[bool | None] = [None] * len(prompts)
    for part in parts():
        for name, given in part.items():
            ballot = unread.without(name, given)
            groups = group_answers(ballot.answers, kind)
            weights = weigh(ballot)
            vote = elect(groups, ballot.answers, weights, min_share=config.min_share, min_margin=config.min_margin)
            held_out.add(groups, ballot.answers, weights)
            tally.add(ballot, groups, kind)
            place = place_of[name]
            if votes[place] is not None:
                raise ValueError(f"two ballots of {name!r}")
            votes[place] = vote
            if vote.label is not None and ballot.gold is not None:
                correct[place] = same_answer(vote.label, ballot.gold, kind)
    unread.warn()
    done = [vote for vote in votes if vote is not None]
    if len(done) < len(votes):
        raise ValueError(f"no ballot of {prompts[votes.index(None)]!r}")
    agreeing = held_out.fit()
    estimates = {
        "agreement": [
            agreeing(score_of(vote.share, vote.margin)) if agreeing and not vote.abstained else None for vote in done
        ],
        "gold": gold_confidence(done, correct, prompts),
    }
    summary = _summary(tally, done, correct, estimates, config, sources, counts or Counts())
    return Labels(done, correct, estimates[config.confidence], replace(summary, unread_gold=unread.count))


class _UnreadGold:
    """Counts gold answers that are none of their kind, and keeps the first few to name them."""

    def __init__(self, kind: AnswerType) -> None:
        self.kind: AnswerType = kind
        self.count = 0
        self._first: list[str] = []

    def without(self, name: str, ballot: Ballot) -> Ballot:
        """The ballot, without a gold answer that is none of its kind."""
        if ballot.gold is None or readable_gold(ballot.gold, self.kind):
            return ballot
        self.count += 1
        if len(self._first) < _SHOWN:
            self._first.append(f"{ballot.gold!r:.60} of {name.partition(chr(0))[0]!r:.40}")
        return replace(ballot, gold=None)

    def warn(self) -> None:
        if self.count:
            shown = ", ".join(self._first)
            _log.warning("%d gold answers are no %s and count as unknown: %s", self.count, self.kind, shown)


def _source_weights(
    parts: Callable[[], Iterable[Mapping[str, Ballot]]], kind: AnswerType, config: VotesConfig
) -> dict[str, float]:
    if config.weights != "source":
        return {}
    if config.source_weights:
        return dict(config.source_weights)
    learned = SourceWeights()
    for part in parts():
        for ballot in part.values():
            groups = group_answers(ballot.answers, kind)
            learned.add(groups, ballot.answers, [origin.model for origin in ballot.origins])
    return learned.weights()


def _weigher(config: VotesConfig, sources: dict[str, float]) -> Callable[[Ballot], list[float] | None]:
    def by_source(ballot: Ballot) -> list[float]:
        return [sources[origin.model] for origin in ballot.origins]

    def by_probability(ballot: Ballot) -> list[float]:
        known = [value for value in ballot.mean_logprobs if value is not None]
        if len(known) < len(ballot.answers):
            raise ValueError("a response has no log-probability")
        return probability_weights(known)

    ways = {"equal": lambda _: None, "source": by_source, "logprob": by_probability}
    return ways[config.weights]


@dataclass
class _Tally:
    """Sums over prompts; nothing of a prompt is kept."""

    agreements: list[float] = field(default_factory=list)
    entropies: list[float] = field(default_factory=list)
    origins: Counter[Origin] = field(default_factory=Counter)
    """Responses to prompts with a gold answer."""
    right: Counter[Origin] = field(default_factory=Counter)
    passes: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    majorities: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, ballot: Ballot, groups: Sequence[Counter[str]], kind: AnswerType) -> None:
        counts = tuple(group.total() for group in groups)
        total = len(ballot.answers)
        if not total:
            return
        self.agreements.append(agreement(counts, total))
        self.entropies.append(_entropy(tuple(sorted(counts)), total - sum(counts)))
        if ballot.gold is None:
            return
        right = {spelling for group in groups for spelling in group if same_answer(spelling, ballot.gold, kind)}
        self.origins.update(ballot.origins)
        voters = zip(ballot.answers, ballot.origins, strict=True)
        self.right.update(origin for answer, origin in voters if answer in right)
        wrong = [sum(n for spelling, n in group.items() if spelling not in right) for group in groups]
        hits = sum(counts) - sum(wrong)
        for k in _draws(total):
            self.passes[k].append(pass_at_k(total, hits, k))
            self.majorities[k].append(maj_at_k(hits, [n for n in wrong if n], total - sum(counts), k))

    def accuracy_by(self, key: Callable[[Origin], str | None]) -> dict[str, float]:
        """Share of right responses by model or temperature."""
        rows: Counter[str] = Counter()
        right: Counter[str] = Counter()
        for origin, count in self.origins.items():
            name = key(origin)
            if name is not None:
                rows[name] += count
                right[name] += self.right[origin]
        return {name: right[name] / rows[name] for name in sorted(rows)}


def _summary(
    tally: _Tally,
    votes: Sequence[Vote],
    correct: Sequence[bool | None],
    estimates: Mapping[str, Sequence[float | None]],
    config: VotesConfig,
    sources: dict[str, float],
    counts: Counts,
) -> VoteSummary:
    quality = label_quality([vote.share for vote in votes], correct, [vote.abstained for vote in votes])
    responses, samples = sum(vote.total for vote in votes), tally.origins.total()
    judged = [(vote.share, right) for vote, right in zip(votes, correct, strict=True) if right is not None]
    curve = accuracy_at_coverage([share for share, _ in judged], [right for _, right in judged])
    sure = [value for value in estimates[config.confidence] if value is not None]
    shares = [None if vote.abstained else vote.share for vote in votes]
    return VoteSummary(
        prompts=len(votes),
        responses=responses,
        prompts_without_responses=sum(vote.total == 0 for vote in votes),
        coverage=quality.coverage,
        abstained=sum(vote.abstained for vote in votes),
        accuracy=quality.accuracy,
        known=quality.known,
        mean_share=quality.mean_share,
        agreement=_mean(tally.agreements),
        entropy=_mean(tally.entropies),
        unparsed_share=1 - counts.rules.total() / responses if responses else 0.0,
        sample_accuracy=tally.right.total() / samples if samples else None,
        sample_accuracy_by_model=tally.accuracy_by(lambda origin: origin.model),
        sample_accuracy_by_temperature=tally.accuracy_by(_temperature),
        source_weights=sources,
        confidence=config.confidence,
        mean_confidence=_mean(sure) if sure else None,
        brier={
            name: error
            for name, values in {"share": shares, **estimates}.items()
            if (error := brier(values, correct)) is not None
        },
        pass_at_k={str(k): _mean(tally.passes[k]) for k in sorted(tally.passes)},
        maj_at_k={str(k): _mean(tally.majorities[k]) for k in sorted(tally.majorities)},
        accuracy_at_coverage=[list(curve[place]) for place in _spread(len(curve), _CURVE_POINTS)],
        unread_gold=0,
        not_whole=dict(sorted(counts.not_whole.items())),
        rules=dict(sorted(counts.rules.items())),
    )


def _temperature(origin: Origin) -> str | None:
    return None if origin.temperature is None else f"{origin.temperature:g}"


def _draws(total: int) -> Iterator[int]:
    """1, 2, 4 and so on, as far as there are responses."""
    return (1 << power for power in range(min(total, _MOST_DRAWN).bit_length()))


@lru_cache(maxsize=1 << 16)
def _entropy(counts: tuple[int, ...], unparsed: int) -> float:
    return answer_entropy(counts, unparsed)


def _mean(values: Sequence[float]) -> float:
    # Exact, so that parts of the prompts in another order give the same mean.
    return fsum(values) / len(values) if values else 0.0


def _spread(length: int, most: int) -> list[int]:
    """At most `most` indices, evenly spread, the last one among them."""
    return sorted({round((place + 1) * length / min(length, most)) - 1 for place in range(min(length, most))})
