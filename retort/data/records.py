"""Reading rows from JSON lines, JSON arrays (gzipped or not) and Parquet, one by one, with errors that name the row."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from retort.errors import InputError

Record = dict[str, Any]

_GZIP = b"\x1f\x8b"
_PARQUET = b"PAR1"


def read_records(path: Path) -> Iterator[tuple[int, Record]]:
    """Yield the rows of a file with their numbers, counted from 1 (for JSON lines: line numbers).

    The format is told from the file's first bytes, not from its name. JSON lines and Parquet are streamed; a JSON
    array is read as a whole.

    Raises:
        InputError: the file is missing, empty, not UTF-8, a broken gzip or Parquet, or a row is no JSON object.
    """
    if not path.is_file():
        raise InputError("does not exist", file=path, remedy="Correct the path, or put the file there")
    with path.open("rb") as raw:
        magic = raw.read(4)
        raw.seek(0)
        if magic == _PARQUET:
            rows = _parquet(path)
        elif magic[:2] == _GZIP:
            rows = _text_rows(path, io.BufferedReader(gzip.GzipFile(fileobj=raw)))
        else:
            rows = _text_rows(path, raw)
        empty = True
        for row in rows:
            empty = False
            yield row
    if empty:
        raise InputError("holds no rows", file=path, remedy="Give a file with at least one row")


def text_field(record: Record, field: str, *, file: Path | str, row: int) -> str:
    """The non-empty string that a row holds in `field`.

    Raises:
        InputError: the row lacks the field, or it is no string, empty, or not valid Unicode.
    """
    if field not in record:
        names = ", ".join(sorted(record)) or "none"
        remedy = f"Add it to the row, or name the right field in the configuration; the row has: {names}"
        raise InputError("is missing", file=file, row=row, field=field, remedy=remedy)
    value = record[field]
    remedy = "Mend or remove the row"
    if not isinstance(value, str):
        raise InputError(f"is {_kind(value)}, not a string", file=file, row=row, field=field, remedy=remedy)
    if not value.strip():
        raise InputError("is empty", file=file, row=row, field=field, remedy=remedy)
    check_unicode(value, field, file=file, row=row)
    return value


def check_unicode(value: str, field: str, *, file: Path | str, row: int) -> None:
    """Refuse a string with half a surrogate pair, which JSON can spell but no file can hold.

    Raises:
        InputError: there is one.
    """
    try:
        value.encode()
    except UnicodeEncodeError as error:
        problem = f"has half a surrogate pair (\\u{ord(value[error.start]):x}) at character {error.start + 1}"
        raise InputError(problem, file=file, row=row, field=field, remedy="Mend or remove the row") from error


def _kind(value: object) -> str:
    names = {"NoneType": "null", "dict": "an object", "list": "a list", "str": "a string", "bool": "a boolean"}
    return names.get(type(value).__name__, "a number")


def _text_rows(path: Path, stream: IO[bytes]) -> Iterator[tuple[int, Record]]:
    number = 0
    try:
        for number, line in enumerate(stream, start=1):
            text = _decode(line, path, number)
            if number == 1 and text.lstrip("\ufeff \t\r\n").startswith("["):
                yield from _array(path, text.lstrip("\ufeff") + _decode(stream.read(), path, None))
                return
            text = text.lstrip("\ufeff") if number == 1 else text
            if text.strip():
                yield number, _object(path, number, text)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        remedy = "Fetch or compress the file again"
        raise InputError(f"the gzip data is broken ({error})", file=path, row=number + 1, remedy=remedy) from error


def _decode(line: bytes, path: Path, row: int | None) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        problem = f"is not UTF-8 (byte 0x{line[error.start]:02x} at position {error.start + 1})"
        raise InputError(problem, file=path, row=row, remedy="Convert the file to UTF-8") from error


def _object(path: Path, row: int, text: str) -> Record:
    remedy = "Write one complete JSON object on each line; the file may have been cut off"
    try:
        value = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"is not complete JSON ({error})", file=path, row=row, remedy=remedy) from error
    if not isinstance(value, dict):
        raise InputError(f"is {_kind(value)}, not a JSON object", file=path, row=row, remedy=remedy)
    return value


def _array(path: Path, text: str) -> Iterator[tuple[int, Record]]:
    try:
        values = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        remedy = "Give a whole JSON array or one JSON object a line"
        raise InputError(f"is not complete JSON ({error})", file=path, remedy=remedy) from error
    for row, value in enumerate(values, start=1):
        if not isinstance(value, dict):
            remedy = "Give an array of objects"
            raise InputError(f"is {_kind(value)}, not a JSON object", file=path, row=row, remedy=remedy)
        yield row, value


def _parquet(path: Path) -> Iterator[tuple[int, Record]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    row = 0
    try:
        for batch in pq.ParquetFile(path).iter_batches(batch_size=1024):
            for record in batch.to_pylist():
                row += 1
                yield row, record
    except (pa.ArrowInvalid, OSError) as error:
        remedy = "Write or fetch the file again"
        raise InputError(f"is not a whole Parquet file ({error})", file=path, row=row + 1, remedy=remedy) from error
