"""Stage `ballots`: read the answers in one shard of the teacher's responses, where there are several shards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from retort.config.run import TEACHER
from retort.errors import InputError
from retort.io.progress import Progress
from retort.io.tables import BALLOTS, PROMPTS, RESPONSES, read_columns, write_rows
from retort.run.stage import Context
from retort.text.extract import read_answer
from retort.votes.answers import Ballot, Batch, Counts, Origin, collect


@dataclass(frozen=True)
class BallotsResult:
    """What was read in one shard."""

    responses: int
    rules: dict[str, int]
    """How many answers each extraction rule read."""
    not_whole: dict[str, int]
    """Responses that were cut off, filtered or stopped otherwise, and so have no answer, by their finish reason."""
    not_recorded: int
    """Responses of which no record says how they ended; they count as whole."""


def run(context: Context) -> BallotsResult:
    """Read the answers of this shard.

    Raises:
        InputError: an input table is missing or malformed, or a response belongs to no prompt.
    """
    shard = int(context.task.values["shard"])
    ballots, counts = read_shard(context, shard, gold_answers(context))
    write_rows(context.paths.ballots(shard), _rows(ballots), BALLOTS)
    responses = sum(len(ballot.answers) for ballot in ballots.values())
    return BallotsResult(
        responses, dict(sorted(counts.rules.items())), dict(sorted(counts.not_whole.items())), counts.not_recorded
    )


def gold_answers(context: Context) -> dict[str, str | None]:
    """Gold answer, where one is known, of every train and validation prompt, in their order."""
    return {
        name: gold
        for split in ("train", "validation")
        for batch in read_columns(context.paths.prompts(split), PROMPTS, columns=["prompt_id", "answer"])
        for name, gold in zip(batch["prompt_id"], batch["answer"], strict=True)
    }


def read_shard(context: Context, shard: int, golds: Mapping[str, str | None]) -> tuple[dict[str, Ballot], Counts]:
    """The ballots of the prompts that were answered in a shard, and what was read in its responses.

    Raises:
        InputError: the table is missing or malformed, a response belongs to no prompt, or it has no log-probability
            where votes are weighed by that.
    """
    import pyarrow.parquet as pq

    path = context.paths.responses(TEACHER, shard)
    total = pq.read_metadata(path).num_rows if path.exists() else 0
    ballots: dict[str, Ballot] = {}
    counts = Counts()
    with Progress("answers", total=total, unit="responses") as progress:
        batches = _batches(context, shard, golds, ballots)
        for count, found in collect(batches, ballots, partial(read_answer, kind=context.config.answer)):
            counts += found
            progress.update(count)
    return ballots, counts


def _batches(
    context: Context, shard: int, golds: Mapping[str, str | None], ballots: dict[str, Ballot]
) -> Iterator[Batch]:
    """The responses of a shard; a ballot is made for each of their prompts."""
    by_logprob = context.config.votes.weights == "logprob"
    columns = ["prompt_id", "model", "temperature", "response", "finish_reason"]
    columns += ["mean_logprob"] if by_logprob else []
    path, before = context.paths.responses(TEACHER, shard), 0
    for batch in read_columns(path, RESPONSES, columns=columns):
        ids = batch["prompt_id"]
        stranger = next((place for place, prompt_id in enumerate(ids) if prompt_id not in golds), None)
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
        for prompt_id in ids:
            if prompt_id not in ballots:
                ballots[prompt_id] = Ballot(golds[prompt_id])
        before += len(ids)
        yield Batch(ids, _origins(batch), batch["response"], batch.get("mean_logprob"), batch["finish_reason"])


def _origins(batch: Mapping[str, list[Any]]) -> list[Origin]:
    return [
        Origin(model, temperature if temperature >= 0 else None)
        for model, temperature in zip(batch["model"], batch["temperature"], strict=True)
    ]


def _rows(ballots: Mapping[str, Ballot]) -> Iterator[dict[str, Any]]:
    for prompt_id, ballot in ballots.items():
        logprobs = ballot.mean_logprobs or [None] * len(ballot.answers)
        for answer, origin, logprob in zip(ballot.answers, ballot.origins, logprobs, strict=True):
            temperature = -1.0 if origin.temperature is None else origin.temperature
            yield {
                "prompt_id": prompt_id,
                "model": origin.model,
                "temperature": temperature,
                "answer": answer,
                "mean_logprob": logprob,
            }


def ballots_of(context: Context, shard: int, golds: Mapping[str, str | None]) -> dict[str, Ballot]:
    """What the task of a shard has written.

    Raises:
        InputError: the table is missing or malformed, or holds a prompt that is none.
    """
    found: dict[str, Ballot] = {}
    kept: dict[str, str] = {}
    origins: dict[Origin, Origin] = {}
    for batch in read_columns(context.paths.ballots(shard), BALLOTS, columns=BALLOTS.names):
        rows = zip(batch["prompt_id"], batch["answer"], _origins(batch), batch["mean_logprob"], strict=True)
        for prompt_id, answer, origin, logprob in rows:
            if prompt_id not in golds:
                raise InputError(
                    f"{prompt_id!r} is no train or validation prompt",
                    file=context.paths.ballots(shard),
                    field="prompt_id",
                    remedy="Run ballots again (`retort run` does so when needed)",
                )
            ballot = found.get(prompt_id)
            if ballot is None:
                ballot = found[prompt_id] = Ballot(golds[prompt_id])
            ballot.answers.append(answer if answer is None else kept.setdefault(answer, answer))
            ballot.origins.append(origins.setdefault(origin, origin))
            if logprob is not None:
                ballot.mean_logprobs.append(logprob)
    return found
