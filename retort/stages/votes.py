"""Stage `votes`: a pseudo-label for every train and validation prompt, and how good the labels are."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from retort.config.data import AnswerType
from retort.errors import InputError
from retort.progress import Progress
from retort.stages.context import Context
from retort.tables import PROMPTS, RESPONSES, VOTES, read_table, read_tables, write_table
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


@dataclass(frozen=True)
class VotesResult:
    """Label quality; what needs gold answers is over the prompts that have one, and None where none has."""

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
    agreement: float
    """Mean probability that two responses to a prompt give the same answer."""
    entropy: float
    """Mean entropy of a prompt's answers, in nats."""
    unparsed_share: float
    """Share of responses in which no answer could be read."""
    sample_accuracy: float | None
    """Share of single responses whose answer equals the gold answer."""
    sample_accuracy_by_temperature: dict[str, float]
    pass_at_k: dict[str, float]
    """Probability that k responses hold a right answer; over prompts with at least k responses."""
    maj_at_k: dict[str, float]
    """Probability that a vote over k responses is right, ties counted as wrong."""
    accuracy_at_coverage: list[list[float]]
    """[share of prompts kept, accuracy of their labels], most confident votes first; at most 20 points."""
    rules: dict[str, int]
    """How many answers each extraction rule read."""


@dataclass
class _Answers:
    """What the teacher answered to one prompt."""

    values: list[str | None] = field(default_factory=list)
    temperatures: list[str] = field(default_factory=list)


def run(context: Context) -> VotesResult:
    """Vote on every train and validation prompt and write the labels.

    Raises:
        InputError: an input table is missing or malformed, a response belongs to no prompt, or all votes abstain.
    """
    kind, config = context.config.answer, context.config.votes
    prompts = read_tables([context.paths.prompts(split) for split in ("train", "validation")], PROMPTS)
    answers, rules = _read_answers(context, {row["prompt_id"] for row in prompts}, kind)
    votes, rows = [], []
    for prompt in prompts:
        vote = majority_vote(
            answers[prompt["prompt_id"]].values, kind, min_share=config.min_share, min_margin=config.min_margin
        )
        votes.append(vote)
        rows.append(_row(prompt, vote, kind))
    if all(vote.abstained for vote in votes):
        raise InputError(
            _why_all_abstain(votes, rules), file=context.paths.responses("teacher_responses", 0), remedy=_REMEDY
        )
    write_table(context.paths.votes, rows, VOTES)
    return _result(prompts, [answers[prompt["prompt_id"]] for prompt in prompts], votes, rows, rules, kind)


_REMEDY = (
    "Check that `answer` names the kind of answer that the teacher gives and read a few of its responses; "
    "then lower votes.min_share and votes.min_margin, or raise teacher_responses.samples"
)


def _why_all_abstain(votes: Sequence[Vote], rules: Counter[str]) -> str:
    total = sum(vote.total for vote in votes)
    if not total:
        return f"holds no response to any of the {len(votes)} prompts, so no vote has a label"
    return (
        f"the vote abstains on all {len(votes)} prompts, so nothing could be trained: an answer could be read in "
        f"{sum(rules.values())} of {total} responses, and the largest share of a winner is "
        f"{max(vote.share for vote in votes):.2f}"
    )


def _read_answers(context: Context, known: set[str], kind: AnswerType) -> tuple[dict[str, _Answers], Counter[str]]:
    answers: dict[str, _Answers] = defaultdict(_Answers)
    rules: Counter[str] = Counter()
    for shard in context.config.teacher_responses.shards:
        path = context.paths.responses("teacher_responses", shard)
        rows = read_table(path, RESPONSES, columns=["prompt_id", "temperature", "response"])
        with Progress(f"answers of shard {shard}", total=len(rows), unit="responses") as progress:
            for number, row in enumerate(rows, start=1):
                progress.update()
                if row["prompt_id"] not in known:
                    raise InputError(
                        f"{row['prompt_id']!r} is no train or validation prompt",
                        file=path,
                        row=number,
                        field="prompt_id",
                        remedy="The responses belong to other prompts: run teacher_responses again",
                    )
                answer = read_answer(row["response"], kind)
                entry = answers[row["prompt_id"]]
                entry.values.append(answer.value if answer else None)
                entry.temperatures.append(f"{row['temperature']:g}")
                if answer:
                    rules[answer.rule] += 1
    return answers, rules


def _row(prompt: dict[str, Any], vote: Vote, kind: AnswerType) -> dict[str, Any]:
    gold = prompt["answer"]
    known = gold is not None and vote.label is not None
    return {
        "prompt_id": prompt["prompt_id"],
        "label": vote.label,
        "votes": vote.votes,
        "total": vote.total,
        "share": vote.share,
        "margin": vote.margin,
        "abstained": vote.abstained,
        "answer": gold,
        "correct": same_answer(str(vote.label), gold, kind) if known else None,
    }


def _result(
    prompts: list[dict[str, Any]],
    answers: list[_Answers],
    votes: list[Vote],
    rows: list[dict[str, Any]],
    rules: Counter[str],
    kind: AnswerType,
) -> VotesResult:
    quality = label_quality(
        [vote.share for vote in votes], [row["correct"] for row in rows], [vote.abstained for vote in votes]
    )
    groups = [[sum(group.values()) for group in group_answers(entry.values, kind)] for entry in answers]
    answered = [(counts, vote) for counts, vote in zip(groups, votes, strict=True) if vote.total]
    responses = sum(vote.total for vote in votes)
    judged = [(row["share"], row["correct"]) for row in rows if row["correct"] is not None]
    curve = accuracy_at_coverage([share for share, _ in judged], [bool(right) for _, right in judged])
    return VotesResult(
        prompts=len(prompts),
        responses=responses,
        prompts_without_responses=sum(vote.total == 0 for vote in votes),
        coverage=quality.coverage,
        abstained=sum(vote.abstained for vote in votes),
        accuracy=quality.accuracy,
        known=quality.known,
        mean_share=quality.mean_share,
        agreement=_mean([agreement(counts, vote.total) for counts, vote in answered]) or 0.0,
        entropy=_mean([answer_entropy(counts, vote.total - sum(counts)) for counts, vote in answered]) or 0.0,
        unparsed_share=1 - sum(rules.values()) / responses,
        accuracy_at_coverage=[list(curve[i]) for i in _spread(len(curve), 20)],
        rules=dict(sorted(rules.items())),
        **_against_gold(prompts, answers, kind),
    )


def _against_gold(prompts: list[dict[str, Any]], answers: list[_Answers], kind: AnswerType) -> dict[str, Any]:
    right_at: dict[str, list[bool]] = defaultdict(list)
    passes: dict[int, list[float]] = defaultdict(list)
    majorities: dict[int, list[float]] = defaultdict(list)
    for prompt, entry in zip(prompts, answers, strict=True):
        if prompt["answer"] is None or not entry.values:
            continue
        is_right = [value is not None and same_answer(value, prompt["answer"], kind) for value in entry.values]
        for temperature, is_one_right in zip(entry.temperatures, is_right, strict=True):
            right_at[temperature].append(is_one_right)
        total, right = len(is_right), sum(is_right)
        wrong_values = [value for value, ok in zip(entry.values, is_right, strict=True) if value is not None and not ok]
        wrong = [sum(group.values()) for group in group_answers(wrong_values, kind)]
        for k in _ks(total):
            passes[k].append(pass_at_k(total, right, k))
            majorities[k].append(maj_at_k(right, wrong, total - right - sum(wrong), k))
    return {
        "sample_accuracy": _mean([right for some in right_at.values() for right in some]),
        "sample_accuracy_by_temperature": {key: _mean(right_at[key]) for key in sorted(right_at)},
        "pass_at_k": {str(k): _mean(passes[k]) for k in sorted(passes)},
        "maj_at_k": {str(k): _mean(majorities[k]) for k in sorted(majorities)},
    }


def _ks(total: int) -> list[int]:
    """Powers of two up to the number of responses."""
    return [1 << power for power in range(total.bit_length())]


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _spread(length: int, most: int) -> list[int]:
    """At most `most` indices, evenly spread, the last one among them."""
    return sorted({round((place + 1) * length / min(length, most)) - 1 for place in range(min(length, most))})
