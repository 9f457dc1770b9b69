"""The tables that stages exchange: one schema each, written as Parquet, checked when read.

Rows keep their order, and the same rows give the same bytes: DVC names tables by content.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from retort.errors import InputError
from retort.io.files import atomic_path

Rows = list[dict[str, Any]]


def _field(name: str, kind: pa.DataType, words: str, *, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"description": words})


PROMPTS = pa.schema(
    [
        _field("prompt_id", pa.string(), "Unique name of the prompt, stable between runs"),
        _field(
            "prompt", pa.string(), 'The user\'s message, or a conversation as {"messages": [{"role", "content"}, ...]}'
        ),
        _field("answer", pa.string(), "Gold answer where one is known: for metrics only", nullable=True),
        _field("source", pa.string(), "File that the prompt came from"),
        _field("row", pa.int64(), "Its row in that file, counted from 1"),
    ]
)
"""`prompts` writes one table per split: train, validation, test."""

RESPONSES = pa.schema(
    [
        _field("prompt_id", pa.string(), "Prompt that was answered"),
        _field("sample", pa.int32(), "Number of the response among those to this prompt, from 0"),
        _field("source", pa.string(), "Who answered: teacher or student"),
        _field("model", pa.string(), "Name of the model that answered"),
        _field("temperature", pa.float32(), "Sampling temperature; 0 is greedy, -1 not known"),
        _field("seed", pa.int64(), "Seed the sample was drawn with; -1 not known"),
        _field("response", pa.string(), "The text, without special tokens"),
        _field(
            "finish_reason",
            pa.string(),
            "stop (it ended), length (cut off), not_recorded, unknown, or the server's",
        ),
        _field("prompt_tokens", pa.int32(), "Tokens of the formatted prompt; 0 when not known"),
        _field("response_tokens", pa.int32(), "Tokens of the response with its end token; 0 when not known"),
        _field(
            "mean_logprob", pa.float32(), "Mean log-probability of its tokens, in nats, where asked for", nullable=True
        ),
        _field(
            "reasoning",
            pa.string(),
            "What a reasoning model thought before it, with its tags; null where it did not or that is not known",
            nullable=True,
        ),
    ]
)
"""`teacher_responses` and `student_responses` write one table per shard."""

BALLOTS = pa.schema(
    [
        _field("prompt_id", pa.string(), "Prompt that was answered"),
        _field("model", pa.string(), "Name of the model that answered"),
        _field("temperature", pa.float32(), "Sampling temperature; -1 not known"),
        _field(
            "answer", pa.string(), "As it was read; null where none was, or the response is not whole", nullable=True
        ),
        _field("mean_logprob", pa.float32(), "Mean log-probability, where votes are weighed by it", nullable=True),
    ]
)
"""`ballots` writes one table per shard of the teacher's responses, where there are several: one row a response."""

VOTES = pa.schema(
    [
        _field("prompt_id", pa.string(), "Prompt that was voted on"),
        _field("label", pa.string(), "Pseudo-label: the winning answer; null when the vote abstains", nullable=True),
        _field("votes", pa.int32(), "Responses that gave the winning answer"),
        _field("total", pa.int32(), "Responses that were counted, unparsed ones included"),
        _field("share", pa.float32(), "votes / total, or the winner's share of the weight where votes are weighed"),
        _field("margin", pa.float32(), "share less the share of the runner-up"),
        _field("abstained", pa.bool_(), "Whether share or margin was too small, or no answer could be read"),
        _field("confidence", pa.float32(), "Probability that votes.confidence names; null without one", nullable=True),
        _field("answer", pa.string(), "Gold answer where known, passed on for metrics only", nullable=True),
        _field("correct", pa.bool_(), "Whether the label equals the gold answer, where both exist", nullable=True),
    ]
)
"""`votes` writes one table over train and validation prompts."""

JUDGEMENTS = pa.schema(
    [
        _field("prompt_id", pa.string(), "Prompt that was answered"),
        _field("response", pa.string(), "A response to it; equal ones have one row"),
        _field(
            "score", pa.float32(), "Share of its comparisons won, or its mean grade; null if not judged", nullable=True
        ),
        _field(
            "agrees", pa.bool_(), "Whether it may be learned from; null where the judge did not decide", nullable=True
        ),
    ]
)
"""`votes` writes this as judgements.parquet beside the votes, for open-ended prompts."""

JUDGE_CALLS = pa.schema(
    [
        _field("prompt_id", pa.string(), "Name of the call: a file of recorded judgements is matched by it"),
        _field("item", pa.string(), "Prompt whose responses were judged"),
        _field("prompt", pa.string(), "What the judge was told, as a JSON list of chat messages"),
        _field("response", pa.string(), "What it wrote"),
        _field("verdict", pa.string(), "As it was read: A, B, tie or a grade; null where there is none", nullable=True),
    ]
)
"""`votes` and `reward_data` write this as calls.parquet beside their tables, for open-ended prompts."""

REWARD_EXAMPLES = pa.schema(
    [
        _field("prompt_id", pa.string(), "Prompt that was answered"),
        _field("prompt", pa.string(), "The user's message"),
        _field("response", pa.string(), "The response that is judged"),
        _field("source", pa.string(), "Who answered: teacher or student"),
        _field("finished", pa.bool_(), "Whether the model ended the response itself"),
        _field("label", pa.int8(), "1 when the response's answer equals the pseudo-label, else 0"),
        _field("correct", pa.bool_(), "Whether its answer equals the gold answer, where known", nullable=True),
    ]
)
"""`reward_data` writes one table for training and one for validation; no prompt is in both. `reward_examples` writes
such tables for one part of the prompts."""

REWARD_PREDICTIONS = pa.schema(
    [
        _field("prompt_id", pa.string(), "Prompt that was answered"),
        _field("response", pa.string(), "The response that is judged"),
        _field("source", pa.string(), "Who answered: teacher or student"),
        _field("label", pa.int8(), "1 when the response's answer equals the pseudo-label, else 0"),
        _field("correct", pa.bool_(), "Whether its answer equals the gold answer, where known", nullable=True),
        _field("score", pa.float32(), "Probability of agreement that the reward model gives"),
        _field("part", pa.string(), "select (chose the step, fitted calibration) or gate (only measured on)"),
    ]
)
"""`reward` writes this as validation.parquet beside the model."""

RESULTS = pa.schema(
    [
        _field("item_id", pa.string(), "Item of the benchmark"),
        _field("group_id", pa.string(), "Items that share a source share this; intervals are clustered by it"),
        _field("subtask", pa.string(), "Task of lm-evaluation-harness; the benchmark's name for held-out prompts"),
        _field("question", pa.string(), "What was asked, without examples and chat format"),
        _field("answer", pa.string(), "Gold answer"),
        _field("response", pa.string(), "The model's response; empty where choices were compared by likelihood"),
        _field("read", pa.string(), "The answer that was read from it; null when none was", nullable=True),
        _field("score", pa.float64(), "What accuracy is the mean of: 1 or 0 by Retort's reading, else the harness's"),
        _field("correct", pa.bool_(), "Whether the score is 1: answer read and gold answer are equal in value"),
        _field("official", pa.bool_(), "Whether the benchmark's own published rule counts it right"),
        _field("harness", pa.map_(pa.string(), pa.float64()), "lm-evaluation-harness's scores, by `filter/metric`"),
        _field("finish_reason", pa.string(), "As in a table of responses"),
        _field("prompt_tokens", pa.int32(), "Tokens of the formatted prompt, examples included"),
        _field("response_tokens", pa.int32(), "Tokens of the response"),
    ]
)
"""`evaluate` writes one table per model and benchmark."""


CHUNK = 1 << 16
"""Rows that are written, and read again, at once."""


def write_table(path: Path, rows: Rows, schema: pa.Schema) -> None:
    """Write `rows` to `path` as Parquet, atomically.

    Raises:
        ValueError: a row does not fit the schema, which is a mistake in the stage that made it.
        StorageError: the file could not be written.
    """
    write_rows(path, rows, schema)


def write_rows(path: Path, rows: Iterable[dict[str, Any]], schema: pa.Schema) -> None:
    """`write_table` for rows that need not be in memory at once: the same rows give the same bytes.

    Raises:
        ValueError: a row does not fit the schema.
        StorageError: the file could not be written.
    """
    source = iter(rows)
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        while chunk := list(islice(source, CHUNK)):
            writer.write_table(_as_table(path, chunk, schema))


def _as_table(path: Path, rows: Rows, schema: pa.Schema) -> pa.Table:
    try:
        table = pa.Table.from_pylist(rows, schema=schema)
        for field in schema:
            if not field.nullable and table.column(field.name).null_count:
                raise ValueError(f"null in required field {field.name!r}")
    except (pa.ArrowInvalid, pa.ArrowTypeError, ValueError) as error:
        raise ValueError(f"{path}: rows do not fit the schema: {error}") from error
    return table


def read_table(path: Path, schema: pa.Schema, *, columns: Sequence[str] | None = None) -> Rows:
    """Read the table at `path` after checking it against `schema`.

    Raises:
        InputError: the file is missing, is no Parquet, lacks a field of the schema, has it in another type, or
            has none of a required one in some row.
    """
    _check(path, schema)
    names = list(columns) if columns else schema.names
    try:
        table = pq.read_table(path, columns=names)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"cannot be read ({error})", file=path, remedy=_REMEDY) from error
    _refuse_nulls(path, schema, table, 0)
    rows: Rows = table.to_pylist()
    return rows


def read_columns(
    path: Path, schema: pa.Schema, *, columns: Sequence[str], batch_rows: int = 8192
) -> Iterator[dict[str, list[Any]]]:
    """Read some columns of a table batch by batch, so that a large one need not fit in memory.

    Raises:
        InputError: as for `read_table`; what is wrong in a later batch is found when that is reached.
    """
    _check(path, schema)
    row = 0
    try:
        for batch in pq.ParquetFile(path).iter_batches(batch_size=batch_rows, columns=list(columns)):
            _refuse_nulls(path, schema, batch, row)
            row += batch.num_rows
            yield batch.to_pydict()
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"cannot be read ({error})", file=path, row=row + 1, remedy=_REMEDY) from error


def read_rows(path: Path, schema: pa.Schema, *, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """Read a table row by row, so that a large one need not fit in memory.

    Raises:
        InputError: as for `read_columns`.
    """
    names = list(columns) if columns else schema.names
    for batch in read_columns(path, schema, columns=names):
        for values in zip(*(batch[name] for name in names), strict=True):
            yield dict(zip(names, values, strict=True))


_REMEDY = "Run the stage that writes it again (`retort run` does so when needed)"


def _check(path: Path, schema: pa.Schema) -> None:
    if not path.exists():
        raise InputError("does not exist", file=path, remedy=_REMEDY)
    try:
        found = pq.read_schema(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"is not a Parquet table ({error})", file=path, remedy=_REMEDY) from error
    for field in schema:
        if field.name not in found.names:
            raise InputError("is missing", file=path, field=field.name, remedy=_REMEDY)
        if found.field(field.name).type != field.type:
            kinds = f"has type {found.field(field.name).type}, not {field.type}"
            raise InputError(kinds, file=path, field=field.name, remedy=_REMEDY)


def _refuse_nulls(path: Path, schema: pa.Schema, rows: pa.Table | pa.RecordBatch, before: int) -> None:
    for name in rows.schema.names:
        if not schema.field(name).nullable and rows.column(name).null_count:
            row = before + rows.column(name).is_null().index(True).as_py() + 1
            raise InputError("is null", file=path, row=row, field=name, remedy=_REMEDY)


def read_tables(paths: Sequence[Path], schema: pa.Schema) -> Rows:
    """Read several tables of one schema (shards) one after another."""
    return [row for path in paths for row in read_table(path, schema)]
