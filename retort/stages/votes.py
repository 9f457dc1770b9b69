"""Stage `votes`: a pseudo-label for every train and validation prompt, and how good the labels are."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from retort.config.run import TEACHER
from retort.errors import ConfigError, InputError
from retort.io.tables import VOTES, write_rows
from retort.run.stage import Context
from retort.stages.ballots import ballots_of, gold_answers, read_shard
from retort.stages.enough_labels import check_labels
from retort.stages.judging import JudgeSummary, elect_labels
from retort.votes.answers import Ballot, Counts
from retort.votes.labels import Labels, VoteSummary, count_parts
from retort.votes.majority import Vote

VotesResult = VoteSummary | JudgeSummary
"""Metrics of the stage."""


def run(context: Context) -> VotesResult:
    """Vote on every train and validation prompt and write the labels; where answers are open-ended, a judge elects.

    The answers of one shard of responses are in memory at a time.

    Raises:
        InputError: an input table is missing or malformed, a response belongs to no prompt, a prompt is answered in two
            shards, all votes abstain, or so many that a later stage of the run would fail (`enough_labels`).
        ConfigError: votes.source_weights lacks a model that answered.
    """
    kind = context.config.answer
    if kind == "open":
        return elect_labels(context)
    golds = gold_answers(context)
    parts, counts = _parts(context, golds)
    _check_models(context, parts)
    labels = count_parts(parts, list(golds), kind, context.config.votes, counts)
    counts.warn()
    if all(vote.abstained for vote in labels.votes):
        shard_file = context.paths.responses(TEACHER, 0)
        raise InputError(_why_all_abstain(labels.votes, counts), file=shard_file, remedy=_REMEDY)
    labelled = {prompt_id for prompt_id, vote in zip(golds, labels.votes, strict=True) if not vote.abstained}
    check_labels(context, labelled)
    write_rows(context.paths.votes, _rows(golds, labels), VOTES)
    return labels.summary


_Parts = Callable[[], Iterator[Mapping[str, Ballot]]]


def _parts(context: Context, golds: Mapping[str, str | None]) -> tuple[_Parts, Counts]:
    """The ballots, a shard at a time and at last those of prompts without a response; and what was read in all.

    A single shard is read here; of several the tasks `ballots` have read each.
    """
    shards = context.config.teacher_responses.shards
    counts = Counts()
    read: dict[int, dict[str, Ballot]] = {}
    if len(shards) == 1:
        ballots, counts = read_shard(context, shards[0], golds)
        # In the order of the prompts, as where they lie in parts.
        read[shards[0]] = {name: ballots[name] for name in golds if name in ballots}
    else:
        for shard in shards:
            figures = json.loads(context.paths.metrics(f"ballots-{shard}").read_text(encoding="utf-8"))
            counts += Counts(
                Counter(figures["rules"]), Counter(figures["not_whole"]), not_recorded=figures["not_recorded"]
            )

    def parts() -> Iterator[Mapping[str, Ballot]]:
        seen: set[str] = set()
        for shard in shards:
            part = read[shard] if shard in read else ballots_of(context, shard, golds)
            if twice := seen & part.keys():
                raise InputError(
                    f"{min(twice)!r} is answered in an earlier shard too",
                    file=context.paths.responses(TEACHER, shard),
                    field="prompt_id",
                    remedy="Run teacher_responses again",
                )
            seen |= part.keys()
            yield part
        yield {name: Ballot(gold) for name, gold in golds.items() if name not in seen}

    return parts, counts


def _rows(golds: Mapping[str, str | None], labels: Labels) -> Iterator[dict[str, Any]]:
    columns = zip(golds.items(), labels.votes, labels.correct, labels.confidence, strict=True)
    for (prompt_id, gold), vote, correct, confidence in columns:
        yield {
            "prompt_id": prompt_id,
            "label": vote.label,
            "votes": vote.votes,
            "total": vote.total,
            "share": vote.share,
            "margin": vote.margin,
            "abstained": vote.abstained,
            "confidence": confidence,
            "answer": gold,
            "correct": correct,
        }


_REMEDY = (
    "Check that `answer` names the kind of answer that the teacher gives and read a few of its responses; "
    "then lower votes.min_share and votes.min_margin, or raise teacher_responses.samples"
)


def _why_all_abstain(votes: Sequence[Vote], counts: Counts) -> str:
    total = sum(vote.total for vote in votes)
    if not total:
        return f"holds no response to any of the {len(votes)} prompts, so no vote has a label"
    return (
        f"the vote abstains on all {len(votes)} prompts, so nothing could be trained: an answer could be read in "
        f"{counts.rules.total()} of {total} responses, {counts.not_whole.total()} are not whole "
        f"(cut off, filtered or stopped), and the largest share of a winner is "
        f"{max(vote.share for vote in votes):.2f}"
    )


def _check_models(context: Context, parts: _Parts) -> None:
    weights = context.config.votes.source_weights
    if context.config.votes.weights == "source" and weights:
        models = {origin.model for part in parts() for ballot in part.values() for origin in ballot.origins}
        if missing := sorted(models - set(weights)):
            raise ConfigError(
                f"votes.source_weights: {', '.join(missing)} answered too. Give each model a weight, or none to learn "
                "the weights."
            )
