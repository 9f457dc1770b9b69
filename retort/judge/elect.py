"""Electing responses to open-ended prompts by a judge, with the vote's interface.

pairwise: the responses to a prompt play a tournament, each against `opponents` others, every pair in both orders. A
    verdict that changes with the order decides nothing. The label is the response with the highest share of its
    comparisons won (ties one half); it alone agrees. A tie for the first place abstains, as do too small a share or
    margin.
rubric: each response is graded. The label is the response with the highest grade; all responses whose grade is at least
    the threshold agree. A prompt none of whose responses pass abstains. Several good responses are no tie.

Equal texts are judged once. The order of the responses has no influence: ties between labels go by the text's hash.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from retort.config.data import VotesConfig
from retort.judge.ask import Judge, Pair, Single
from retort.votes.majority import Vote

_ROUNDING = 1e-9


@dataclass(frozen=True)
class OpenPrompt:
    """An open-ended prompt and the responses to it."""

    prompt_id: str
    instruction: str
    responses: Sequence[str]
    """Empty ones lose without being judged; the stage empties those that were cut off."""


@dataclass(frozen=True)
class Elected:
    """What the judge made of one prompt's responses."""

    vote: Vote
    """`label` is the text of the best response; `votes` of `total` is, pairwise, its comparisons won, and by rubric the
    responses that pass."""
    scores: Mapping[str, float | None]
    """For each different response the share of its comparisons won, or its mean grade; None where not judged."""
    agrees: Mapping[str, bool | None]
    """Whether each different response may be learned from; None where the judge did not decide."""


def elect_responses(judge: Judge, prompts: Sequence[OpenPrompt], config: VotesConfig) -> list[Elected]:
    """Have all responses judged and elect one for each prompt."""
    if judge.config.method == "rubric":
        return _by_rubric(judge, prompts, config)
    return _by_pairs(judge, prompts, config)


def agree_with(judge: Judge, asked: Sequence[Pair]) -> list[bool | None]:
    """Whether further responses are as good as a label.

    Args:
        judge: The judge that elected the label.
        asked: The response as `first`, the prompt's label as `second`.

    Returns:
        Pairwise: True where the response is the label, beats it or ties with it, False where it loses, None where
        the judge does not decide. By rubric: whether its grade passes; None without a grade.
    """
    if judge.config.method == "rubric":
        grades = judge.grade([Single(one.prompt_id, one.instruction, one.first) for one in asked])
        return [None if grade is None else grade >= judge.config.threshold for grade in grades]
    played = [one for one in asked if one.first != one.second and one.first.strip()]
    found = dict(zip(played, judge.compare(played), strict=True))
    return [
        one.first == one.second if one not in found else (None if found[one] is None else found[one] != 0)
        for one in asked
    ]


def _by_rubric(judge: Judge, prompts: Sequence[OpenPrompt], config: VotesConfig) -> list[Elected]:
    singles = [Single(one.prompt_id, one.instruction, text) for one in prompts for text in _distinct(one)]
    grades = dict(zip(singles, judge.grade(singles), strict=True))
    found = []
    for one in prompts:
        scores = {text: grades[Single(one.prompt_id, one.instruction, text)] for text in _distinct(one)}
        agrees = {text: None if grade is None else grade >= judge.config.threshold for text, grade in scores.items()}
        passing = sum(agrees.get(text) is True for text in one.responses)
        total = len(one.responses)
        share = passing / total if total else 0.0
        ranked = _ranked(scores)
        # The lead of the best grade, as a share of the scale.
        margin = (ranked[0][0] - ranked[1][0]) / (judge.config.scale - 1) if len(ranked) > 1 else share
        abstained = not passing or share < config.min_share or margin < config.min_margin
        label = None if abstained else ranked[0][1]
        found.append(Elected(Vote(label, passing, total, share, margin, abstained), scores, agrees))
    return found


def _by_pairs(judge: Judge, prompts: Sequence[OpenPrompt], config: VotesConfig) -> list[Elected]:
    pairs = [pair for one in prompts for pair in tournament(one, judge.config.opponents)]
    won: dict[tuple[str, str], list[float | None]] = defaultdict(list)
    for pair, outcome in zip(pairs, judge.compare(pairs), strict=True):
        won[pair.prompt_id, pair.first].append(outcome)
        won[pair.prompt_id, pair.second].append(None if outcome is None else 1 - outcome)
    return [_elected(one, {text: won[one.prompt_id, text] for text in _distinct(one)}, config) for one in prompts]


def _elected(prompt: OpenPrompt, won: Mapping[str, Sequence[float | None]], config: VotesConfig) -> Elected:
    if len(won) == 1:  # all responses are one text: nothing to compare
        (text,) = won
        count = sum(one == text for one in prompt.responses)
        total = len(prompt.responses)
        vote = Vote(text, count, total, count / total, count / total, False)
        return Elected(vote, {text: None}, {text: True})
    # A comparison that decides nothing counts as none won, so a judge that contradicts itself elects nobody.
    scores = {text: sum(one or 0.0 for one in some) / len(some) for text, some in won.items()}
    ranked = _ranked(scores)
    if not ranked:
        return Elected(Vote(None, 0, len(prompt.responses), 0.0, 0.0, True), {}, {})
    (share, best), margin = ranked[0], ranked[0][0] - ranked[1][0]
    abstained = margin <= _ROUNDING or share < config.min_share or margin < config.min_margin
    vote = Vote(
        None if abstained else best, sum(one == 1 for one in won[best]), len(won[best]), share, margin, abstained
    )
    return Elected(vote, scores, {text: None if abstained else text == best for text in scores})


def tournament(prompt: OpenPrompt, opponents: int) -> list[Pair]:
    """The pairs to compare: on a circle in the order of the texts' hashes, each with its next neighbours.

    Every response meets the same number of others (one fewer where that is odd), or all of them where there are
    not more than `opponents`.
    """
    texts = _distinct(prompt)
    count = len(texts)
    reach = (min(opponents, count - 1) + 1) // 2
    found: dict[frozenset[int], Pair] = {}
    for step in range(1, reach + 1):
        for place in range(count):
            other = (place + step) % count
            key = frozenset((place, other))
            if len(key) == 2 and key not in found:
                found[key] = Pair(prompt.prompt_id, prompt.instruction, texts[place], texts[other])
    return list(found.values())


def _distinct(prompt: OpenPrompt) -> list[str]:
    """The different responses that say anything, in the order of their hashes: that of the samples must not matter."""
    return sorted({text for text in prompt.responses if text.strip()}, key=_hash)


def _ranked(scores: Mapping[str, float | None]) -> list[tuple[float, str]]:
    known = [(score, text) for text, score in scores.items() if score is not None]
    return sorted(known, key=lambda pair: (-pair[0], _hash(pair[1])))


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
