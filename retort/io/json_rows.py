"""Rows of JSON text: one object a line, an array of objects, or an object around them; streamed."""

from __future__ import annotations

import codecs
import io
import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import IO, Any

from retort.errors import InputError

Record = dict[str, Any]

_BLANK = " \t\r\n"
_CHUNK = 1 << 20
"""Bytes of a JSON text that are read at a time."""

_TURN_KEYS = {"role", "from"}
"""Keys of a conversation's turns: a list of them is a row's, not a list of rows."""


def decoded(line: bytes, path: Path, row: int | None) -> str:
    """A line as text.

    Raises:
        InputError: it is not UTF-8.
    """
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        problem = f"is not UTF-8 (byte 0x{line[error.start]:02x} at position {error.start + 1})"
        raise InputError(problem, file=path, row=row, remedy="Convert the file to UTF-8") from error


def kind_of(value: object) -> str:
    """What a value is, in words for a message."""
    names = {
        "NoneType": "null",
        "dict": "an object",
        "list": "a list",
        "str": "a string",
        "bool": "a boolean",
        "bytes": "bytes",
        "int": "a number",
        "float": "a number",
        "Decimal": "a decimal number",
        "date": "a date",
        "datetime": "a date and time",
        "Timestamp": "a date and time",
        "time": "a time",
        "timedelta": "a duration",
    }
    return names.get(type(value).__name__, f"of type {type(value).__name__}")


def json_rows(path: Path, stream: io.BufferedReader) -> Iterator[tuple[int, Record]]:
    """Rows with their numbers from 1; for one object a line, the numbers of the lines.

    Raises:
        InputError: the text is not UTF-8, or a row is no JSON object.
    """
    if _first_character(stream) == b"[":
        yield from _sequence(path, stream)
        return
    number, lines = 0, iter(stream)
    for number, line in enumerate(lines, start=1):
        text = decoded(line, path, number)
        text = text.lstrip("\ufeff") if number == 1 else text
        if text.strip():
            break
    else:
        return
    try:
        first = json.loads(text)
    except (ValueError, RecursionError) as error:
        several = isinstance(error, json.JSONDecodeError) and error.msg == "Extra data"
        if _too_long(error) or not (several or line.endswith(b"\n")):
            raise _no_json(path, number, error, ended=True) from error
        # An object over several lines, or several on one: rows one after another, or one object around them.
        yield from _spread(path, line, lines, number, error)
        return
    if not isinstance(first, dict):
        raise _no_object(path, number, first)
    second = next(((place, one) for place, one in enumerate(lines, start=number + 1) if one.strip()), None)
    if second is None:
        yield from _unwrapped(first, number)
        return
    yield number, first
    for place, one in chain([second], enumerate(lines, start=second[0] + 1)):
        text = decoded(one, path, place)
        if text.strip():
            yield place, _object(path, place, text, ended=not one.endswith(b"\n"))


def _first_character(stream: io.BufferedReader) -> bytes:
    return stream.peek(64).lstrip(codecs.BOM_UTF8).lstrip()[:1]


def _spread(
    path: Path, line: bytes, lines: Iterator[bytes], number: int, error: Exception
) -> Iterator[tuple[int, Record]]:
    rows = _sequence(path, _Joined(chain([line], lines)), bare=True, blame=(number, error))
    first = next(rows, None)
    if first is None:
        return
    second = next(rows, None)
    if second is None:
        yield from _unwrapped(first[1], 1)
        return
    yield from chain([first, second], rows)


class _Joined(io.RawIOBase):
    """Lines as one stream."""

    def __init__(self, lines: Iterator[bytes]) -> None:
        self._lines = lines

    def read(self, size: int = -1) -> bytes:
        """At least `size` bytes, or what is left."""
        parts, length = [], 0
        while length < size and (line := next(self._lines, None)) is not None:
            parts.append(line)
            length += len(line)
        return b"".join(parts)


def _unwrapped(value: Record, row: int) -> Iterator[tuple[int, Record]]:
    """The rows that a file's only object is put around, such as `{"data": [...]}`; else the object itself."""
    lists = [
        some
        for some in value.values()
        if isinstance(some, list) and some and all(isinstance(one, dict) for one in some)
    ]
    if len(lists) == 1 and not any(_TURN_KEYS & one.keys() for one in lists[0]):
        yield from enumerate(lists[0], start=1)
    else:
        yield row, value


def _object(path: Path, row: int, text: str, *, ended: bool) -> Record:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _no_json(path, row, error, ended=ended) from error
    if not isinstance(value, dict):
        raise _no_object(path, row, value)
    return value


def _too_long(error: Exception) -> bool:
    """Whether a number has more digits than Python reads, for its own safety."""
    return isinstance(error, ValueError) and not isinstance(error, json.JSONDecodeError)


def _no_json(path: Path, row: int, error: Exception, *, ended: bool) -> InputError:
    if _too_long(error):
        problem = "has an integer of more digits than are read (4,300)"
        return InputError(problem, file=path, row=row, remedy="Write it as a string, in quotes")
    if isinstance(error, RecursionError):
        return InputError("is nested too deeply", file=path, row=row, remedy="Give flat objects, one a line")
    at_the_end = isinstance(error, json.JSONDecodeError) and not error.doc[error.pos + 1 :].strip()
    unclosed = isinstance(error, json.JSONDecodeError) and error.msg.startswith("Unterminated")
    cut = "; the file may have been cut off" if ended and (at_the_end or unclosed) else ""
    remedy = f"Write one complete JSON object on each line{cut}. A table of text must be called .csv or .tsv"
    return InputError(f"is not complete JSON ({error})", file=path, row=row, remedy=remedy)


def _no_object(path: Path, row: int, value: object) -> InputError:
    remedy = 'Give one JSON object a row, such as {"prompt": "..."}'
    return InputError(f"is {kind_of(value)}, not a JSON object", file=path, row=row, remedy=remedy)


def _sequence(
    path: Path, stream: IO[bytes] | _Joined, *, bare: bool = False, blame: tuple[int, Exception] | None = None
) -> Iterator[tuple[int, Record]]:
    """Objects of an array, or with `bare` of a text that is one object after another, decoded one by one.

    The buffer grows only while an object is incomplete. `blame` is what a broken first object is explained by.
    """
    decoder, decode = json.JSONDecoder(), codecs.getincrementaldecoder("utf-8")()
    buffer, place, row, size = "", 0, 0, _CHUNK
    ended, opened = False, bare
    while True:
        while place < len(buffer) and buffer[place] in (
            _BLANK + ("," if opened else "") + ("\ufeff" if bare or not opened else "")
        ):
            place += 1
        if not opened and place < len(buffer):
            opened, place = True, place + 1
            continue
        if buffer.startswith("]", place) and not bare:
            _refuse_more(path, stream, decode, buffer[place + 1 :], row)
            return
        if bare and ended and place == len(buffer):
            return
        try:
            # a row that ends where the buffer does may go on: "12" of "123"
            value, end = decoder.raw_decode(buffer, place)
            complete = end < len(buffer) or ended
        except (ValueError, RecursionError) as error:
            if ended or _too_long(error):
                if blame is not None and row == 0:
                    raise _no_json(path, blame[0], blame[1], ended=False) from error
                raise _no_json(path, row + 1, error, ended=True) from error
            complete = False
        if not complete:
            more = stream.read(size)
            ended, size = not more, max(_CHUNK, len(buffer) - place)
            buffer, place = buffer[place:] + _more(decode, more, path, row + 1), 0
            continue
        row, place = row + 1, end
        if not isinstance(value, dict):
            raise _no_object(path, row, value)
        yield row, value


def _refuse_more(
    path: Path, stream: IO[bytes] | _Joined, decode: codecs.IncrementalDecoder, text: str, row: int
) -> None:
    """Refuse rows after the end of an array, such as a second array: they would be lost."""
    while not text.strip(_BLANK) and (data := stream.read(_CHUNK)):
        text = _more(decode, data, path, row + 1)
    if rest := text.strip(_BLANK):
        problem = f"its array of rows ends here, but the file goes on: {rest[:40]!r}"
        raise InputError(problem, file=path, row=row, remedy="Put all rows into one array, or one object on each line")


def _more(decode: codecs.IncrementalDecoder, data: bytes, path: Path, row: int) -> str:
    try:
        return decode.decode(data, final=not data)
    except UnicodeDecodeError as error:
        raise InputError(
            f"is not UTF-8 ({error.reason})", file=path, row=row, remedy="Convert the file to UTF-8"
        ) from error
