"""Stage `votes`: a pseudo-label for every train and validation prompt, and how good the labels are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from retort.errors import InputError
from retort.progress import Progress
from retort.stages.context import Context
from retort.tables import PROMPTS, RESPONSES, VOTES, read_table, read_tables, write_table
from retort.text.summary import Ballot, VoteSummary, label_correct, summarise, vote_on
from retort.text.vote import Vote

VotesResult = VoteSummary
"""Metrics of the stage; `sample_accuracy_by` is by temperature, `unknown` where a file of responses tells none."""


def run(context: Context) -> VotesResult:
    """Vote on every train and validation prompt and write the labels.

    Raises:
        InputError: an input table is missing or malformed, a response belongs to no prompt, or all votes abstain.
    """
    kind, config = context.config.answer, context.config.votes
    prompts = read_tables([context.paths.prompts(split) for split in ("train", "validation")], PROMPTS)
    ballots = {row["prompt_id"]: Ballot(row["answer"]) for row in prompts}
    rules: Counter[str] = Counter()
    for shard in context.config.teacher_responses.shards:
        _read_answers(context, shard, ballots, rules)
    votes = vote_on(list(ballots.values()), kind, min_share=config.min_share, min_margin=config.min_margin)
    if all(vote.abstained for vote in votes):
        shard_file = context.paths.responses("teacher_responses", 0)
        raise InputError(_why_all_abstain(votes, rules), file=shard_file, remedy=_REMEDY)
    rows = [
        {
            "prompt_id": prompt_id,
            "label": vote.label,
            "votes": vote.votes,
            "total": vote.total,
            "share": vote.share,
            "margin": vote.margin,
            "abstained": vote.abstained,
            "answer": ballot.gold,
            "correct": label_correct(vote, ballot.gold, kind),
        }
        for (prompt_id, ballot), vote in zip(ballots.items(), votes, strict=True)
    ]
    write_table(context.paths.votes, rows, VOTES)
    return summarise(list(ballots.values()), votes, kind, rules)


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


def _read_answers(context: Context, shard: int, ballots: dict[str, Ballot], rules: Counter[str]) -> None:
    path = context.paths.responses("teacher_responses", shard)
    rows = read_table(path, RESPONSES, columns=["prompt_id", "temperature", "response"])
    with Progress(f"answers of shard {shard}", total=len(rows), unit="responses") as progress:
        for number, row in enumerate(rows, start=1):
            progress.update()
            if row["prompt_id"] not in ballots:
                raise InputError(
                    f"{row['prompt_id']!r} is no train or validation prompt",
                    file=path,
                    row=number,
                    field="prompt_id",
                    remedy="The responses belong to other prompts: run teacher_responses again",
                )
            temperature = f"{row['temperature']:g}" if row["temperature"] >= 0 else "unknown"
            ballots[row["prompt_id"]].add(row["response"], context.config.answer, temperature, rules)
