"""Reading rows from JSON lines, JSON arrays (plain, gzipped or zipped) and Parquet, with errors that name the row."""

from __future__ import annotations

import codecs
import gzip
import io
import json
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from retort.errors import InputError

Record = dict[str, Any]

_GZIP = b"\x1f\x8b"
_PARQUET = b"PAR1"
_ZIP = b"PK\x03\x04"
_BLANK = " \t\r\n"
_CHUNK = 1 << 20
"""Bytes of a JSON array that are read at a time."""


def read_records(path: Path) -> Iterator[tuple[int, Record]]:
    """Yield the rows of a file with their numbers, counted from 1 (for JSON lines: line numbers).

    The format is told from the file's first bytes, not from its name. Everything is streamed: no more than a row, or
    a MiB, is held at a time. A zip archive must hold one JSON file.

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
        elif magic == _ZIP:
            rows = _zipped(path, raw)
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


def _text_rows(path: Path, stream: io.BufferedReader) -> Iterator[tuple[int, Record]]:
    number = 0
    try:
        if _starts_array(stream):
            yield from _array(path, stream)
            return
        for number, line in enumerate(stream, start=1):
            text = _decode(line, path, number)
            text = text.lstrip("\ufeff") if number == 1 else text
            if text.strip():
                yield number, _object(path, number, text)
    except (EOFError, gzip.BadGzipFile, zlib.error, zipfile.BadZipFile) as error:
        remedy = "Fetch or compress the file again"
        kind = "zip" if isinstance(error, zipfile.BadZipFile) else "gzip"
        raise InputError(f"the {kind} data is broken ({error})", file=path, row=number + 1, remedy=remedy) from error


def _zipped(path: Path, raw: IO[bytes]) -> Iterator[tuple[int, Record]]:
    remedy = "Give an archive that holds one JSON or JSON lines file, or unpack it"
    try:
        with zipfile.ZipFile(raw) as archive:
            names = [info.filename for info in archive.infolist() if not info.is_dir()]
            names = [name for name in names if not name.startswith("__MACOSX/")]
            if len(names) != 1:
                raise InputError(f"holds {len(names)} files, not one", file=path, remedy=remedy)
            with archive.open(names[0]) as member:
                yield from _text_rows(path, io.BufferedReader(cast("Any", member)))
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise InputError(f"is not a zip archive that can be read ({error})", file=path, remedy=remedy) from error


def _starts_array(stream: io.BufferedReader) -> bool:
    return stream.peek(64).lstrip(codecs.BOM_UTF8).lstrip()[:1] == b"["


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


def _array(path: Path, stream: IO[bytes]) -> Iterator[tuple[int, Record]]:
    """Rows of a JSON array, decoded one by one from a buffer that grows only while a row is incomplete."""
    remedy = "Give a whole JSON array or one JSON object a line"
    decoder, decode = json.JSONDecoder(), codecs.getincrementaldecoder("utf-8")()
    buffer, place, row, size = "", 0, 0, _CHUNK
    ended, opened = False, False
    while True:
        while place < len(buffer) and buffer[place] in (_BLANK + "\ufeff" if not opened else _BLANK + ","):
            place += 1
        if not opened and place < len(buffer):
            opened, place = True, place + 1
            continue
        if buffer.startswith("]", place):
            return
        try:
            # a row that ends where the buffer does may go on: "12" of "123"
            value, end = decoder.raw_decode(buffer, place)
            complete = end < len(buffer) or ended
        except (json.JSONDecodeError, RecursionError) as error:
            if ended:
                raise InputError(f"is not complete JSON ({error})", file=path, row=row + 1, remedy=remedy) from error
            complete = False
        if not complete:
            more = stream.read(size)
            ended, size = not more, max(_CHUNK, len(buffer) - place)
            buffer, place = buffer[place:] + _decoded(decode, more, path, row + 1), 0
            continue
        row, place = row + 1, end
        if not isinstance(value, dict):
            raise InputError(
                f"is {_kind(value)}, not a JSON object", file=path, row=row, remedy="Give an array of objects"
            )
        yield row, value


def _decoded(decode: codecs.IncrementalDecoder, data: bytes, path: Path, row: int) -> str:
    try:
        return decode.decode(data, final=not data)
    except UnicodeDecodeError as error:
        raise InputError(
            f"is not UTF-8 ({error.reason})", file=path, row=row, remedy="Convert the file to UTF-8"
        ) from error


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
