"""Rows of tables: comma- or tab-separated text, Parquet and Arrow; streamed."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from retort.errors import InputError
from retort.io.json_rows import Record

_SEPARATOR = re.compile(r"sep=(.)\s*")
_FIELD_CHARACTERS = 2**31 - 1
"""Longest field that is read; Python's own limit is 131,072."""


def text_table_rows(path: Path, stream: io.BufferedReader, *, tabs: bool) -> Iterator[tuple[int, Record]]:
    """Rows of CSV or TSV with a header, numbered from 1; an empty field is null.

    Comma-separated files may use semicolons or bars: what the header holds most of.

    Raises:
        InputError: the text is not UTF-8, a quote is never closed, columns share a name, or a row has more or fewer
            fields than the header.
    """
    csv.field_size_limit(_FIELD_CHARACTERS)
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
    number = 0
    try:
        head = next((line for line in text if line.strip()), "")
        delimiter = "\t" if tabs else _delimiter_of(head)
        if said := _SEPARATOR.fullmatch(head):  # Excel's own line before the header
            head, delimiter = text.readline(), said[1]
        rows = csv.reader(chain([head], text), delimiter=delimiter, strict=True)
        names = [name.strip() for name in next(rows, [])]
        _check_names(path, names)
        for fields in rows:
            if not fields:  # an empty line
                continue
            number += 1
            if len(fields) != len(names):
                shown = ", ".join(names)[:80]
                problem = f"has {len(fields)} fields, but the header has {len(names)} ({shown})"
                remedy = f"Put fields that hold {delimiter!r} or line breaks in double quotes"
                raise InputError(problem, file=path, row=number, remedy=remedy)
            yield number, {name: value if value != "" else None for name, value in zip(names, fields, strict=True)}
    except UnicodeDecodeError as error:
        problem = f"is not UTF-8 (byte 0x{error.object[error.start]:02x})"
        raise InputError(problem, file=path, row=number + 1, remedy="Convert the file to UTF-8") from error
    except csv.Error as error:
        remedy = "Mend the quotes of that row: a quote inside a field is written twice"
        raise InputError(f"is not a row of a table ({error})", file=path, row=number + 1, remedy=remedy) from error


def _delimiter_of(head: str) -> str:
    """What parts the names of a header, whose quotes may hold any of them."""
    return max(",;|\t", key=re.sub(r'"[^"]*"?', "", head).count)


def _check_names(path: Path, names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        problem = f"the header names {', '.join(map(repr, twice))} more than once"
        raise InputError(problem, file=path, remedy="Give each column a name of its own")


def parquet_rows(path: Path) -> Iterator[tuple[int, Record]]:
    """Rows of a Parquet file.

    Raises:
        InputError: the file is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    row = 0
    try:
        for batch in pq.ParquetFile(path).iter_batches(batch_size=1024):
            for record in _records(path, batch, row):
                row += 1
                yield row, record
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, row, "Parquet", error) from error


def arrow_rows(path: Path) -> Iterator[tuple[int, Record]]:
    """Rows of an Arrow file (Feather), or of an Arrow stream as `datasets` writes them.

    Raises:
        InputError: the file is damaged.
    """
    import pyarrow as pa

    row = 0
    try:
        with pa.memory_map(str(path)) as source:
            for batch in _batches(source):
                for record in _records(path, batch, row):
                    row += 1
                    yield row, record
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, row, "Arrow", error) from error


def _records(path: Path, batch: Any, before: int) -> list[Record]:
    """The rows of a batch as Python has them.

    Raises:
        InputError: a value is none that Python has, such as a time in a zone that is not known; names its column.
    """
    try:
        found: list[Record] = batch.to_pylist()
    except (ValueError, OverflowError, LookupError, NotImplementedError) as error:
        for name in batch.schema.names:
            for place, value in enumerate(batch.column(name), start=1):
                try:
                    value.as_py()
                except (ValueError, OverflowError, LookupError, NotImplementedError) as cause:
                    problem = f"is a {value.type} that cannot be read ({cause})"
                    remedy = "Leave the column out, or write it as text"
                    raise InputError(problem, file=path, row=before + place, field=name, remedy=remedy) from error
        raise
    return found


def _batches(source: Any) -> Iterator[Any]:
    import pyarrow as pa

    if source.read(6) == b"ARROW1":
        reader = pa.ipc.open_file(source)
        yield from (reader.get_batch(number) for number in range(reader.num_record_batches))
    else:
        source.seek(0)
        yield from pa.ipc.open_stream(source)


def _damaged(path: Path, row: int, kind: str, error: Exception) -> InputError:
    remedy = "Write or fetch the file again"
    return InputError(f"is not a whole {kind} file ({error})", file=path, row=row + 1, remedy=remedy)
