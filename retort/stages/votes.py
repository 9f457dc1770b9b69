"""Stage `votes`: a pseudo-label for every train and validation prompt, and how good the labels are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from retort.errors import ConfigError, InputError
from retort.io.progress import Progress
from retort.io.tables import PROMPTS, RESPONSES, VOTES, Rows, read_columns, read_tables, write_table
from retort.run.stage import Context
from retort.stages.enough_labels import check_labels
from retort.stages.judging import JudgeSummary, elect_labels
from retort.text.extract import read_answer
from retort.votes.answers import Ballot, Batch, Counts, Origin, collect
from retort.votes.labels import Labels, VoteSummary, count_votes
from retort.votes.majority import Vote

VotesResult = VoteSummary | JudgeSummary
"""Metrics of the stage."""


def run(context: Context) -> VotesResult:
    """Vote on every train and validation prompt and write the labels; where answers are open-ended, a judge elects.

    Raises:
        InputError: an input table is missing or malformed, a response belongs to no prompt, all votes abstain, or so
            many that a later stage of the run would fail (`enough_labels`).
        ConfigError: votes.source_weights lacks a model that answered.
    """
    kind = context.config.answer
    if kind == "open":
        return elect_labels(context)
    prompts = read_tables([context.paths.prompts(split) for split in ("train", "validation")], PROMPTS)
    ballots = {row["prompt_id"]: Ballot(row["answer"]) for row in prompts}
    counts = Counts()
    with Progress("answers", total=_responses(context), unit="responses") as progress:
        for count, found in collect(_batches(context, ballots), ballots, partial(read_answer, kind=kind)):
            counts += found
            progress.update(count)
    _check_models(context, ballots)
    labels = count_votes(ballots, kind, context.config.votes, counts)
    counts.warn()
    if all(vote.abstained for vote in labels.votes):
        shard_file = context.paths.responses("teacher", 0)
        raise InputError(_why_all_abstain(labels.votes, counts), file=shard_file, remedy=_REMEDY)
    check_labels(
        context, {prompt_id for prompt_id, vote in zip(ballots, labels.votes, strict=True) if not vote.abstained}
    )
    write_table(context.paths.votes, _rows(ballots, labels), VOTES)
    return labels.summary


def _rows(ballots: Mapping[str, Ballot], labels: Labels) -> Rows:
    return [
        {
            "prompt_id": prompt_id,
            "label": vote.label,
            "votes": vote.votes,
            "total": vote.total,
            "share": vote.share,
            "margin": vote.margin,
            "abstained": vote.abstained,
            "confidence": confidence,
            "answer": ballot.gold,
            "correct": correct,
        }
        for (prompt_id, ballot), vote, correct, confidence in zip(
            ballots.items(), labels.votes, labels.correct, labels.confidence, strict=True
        )
    ]


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


def _responses(context: Context) -> int:
    import pyarrow.parquet as pq

    files = [context.paths.responses("teacher", shard) for shard in context.config.teacher_responses.shards]
    return sum(pq.read_metadata(file).num_rows for file in files if file.exists())


def _batches(context: Context, ballots: Mapping[str, Ballot]) -> Iterator[Batch]:
    """The responses of all shards.

    Raises:
        InputError: a table is missing or malformed, a response belongs to no prompt, or it has no log-probability
            where votes are weighed by that.
    """
    by_logprob = context.config.votes.weights == "logprob"
    columns = ["prompt_id", "model", "temperature", "response", "finish_reason"]
    columns += ["mean_logprob"] if by_logprob else []
    for shard in context.config.teacher_responses.shards:
        path, before = context.paths.responses("teacher", shard), 0
        for batch in read_columns(path, RESPONSES, columns=columns):
            ids = batch["prompt_id"]
            stranger = next((place for place, prompt_id in enumerate(ids) if prompt_id not in ballots), None)
            if stranger is not None:
                raise InputError(
                    f"{ids[stranger]!r} is no train or validation prompt",
                    file=path,
                    row=before + stranger + 1,
                    field="prompt_id",
                    remedy="The responses belong to other prompts: run teacher_responses again",
                )
            if by_logprob and None in batch["mean_logprob"]:
                raise InputError(
                    "is not known, but votes.weights is logprob",
                    file=path,
                    row=before + batch["mean_logprob"].index(None) + 1,
                    field="mean_logprob",
                    remedy="Set teacher_responses.logprobs (recorded responses: give mean_logprob), or weigh equally",
                )
            origins = [
                Origin(model, temperature if temperature >= 0 else None)
                for model, temperature in zip(batch["model"], batch["temperature"], strict=True)
            ]
            before += len(ids)
            yield Batch(ids, origins, batch["response"], batch.get("mean_logprob"), batch["finish_reason"])


def _check_models(context: Context, ballots: Mapping[str, Ballot]) -> None:
    weights = context.config.votes.source_weights
    if context.config.votes.weights == "source" and weights:
        models = {origin.model for ballot in ballots.values() for origin in ballot.origins}
        if missing := sorted(models - set(weights)):
            raise ConfigError(
                f"votes.source_weights: {', '.join(missing)} answered too. Give each model a weight, or none to learn "
                "the weights."
            )
