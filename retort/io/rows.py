"""Reading rows from files as they lie about, with errors that name the row.

Formats: one JSON object a line, JSON arrays and objects around them, CSV and TSV, Parquet, Arrow; plain or packed with
gzip, zstd, bzip2, xz or zip. All but CSV and TSV, which nothing but their name tells, are known by their first bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from retort.errors import InputError
from retort.io.json_rows import Record, json_rows, kind_of
from retort.io.streams import BROKEN, PACKED, opened, other_kind
from retort.io.table_rows import arrow_rows, parquet_rows, text_table_rows

__all__ = ["Record", "check_unicode", "read_records", "shards_of", "text_field"]

_PARQUET = b"PAR1"
_ARROW = (b"ARROW1", b"\xff\xff\xff\xff")
_TABLES = {".csv": False, ".tsv": True, ".tab": True}
"""Suffixes of tables of text, and whether their fields are parted by tabs."""
_SUFFIXES = (".jsonl", ".ndjson", ".json", *_TABLES, ".parquet", ".pq", ".arrow", ".feather")
"""Suffixes of files of rows, in a folder of them."""


def read_records(path: Path, *, may_be_empty: bool = False) -> Iterator[tuple[int, Record]]:
    """Yield the rows of a file with their numbers, counted from 1 (for JSON lines: line numbers).

    Everything but an object around rows is streamed: no more than a row, or a MiB, is held at a time. One file of
    several may hold no row.

    Raises:
        InputError: the file is missing, empty, not UTF-8 or damaged, or a row is no object.
    """
    empty = True
    for row in _rows(path):
        empty = False
        yield row
    if empty and not may_be_empty:
        raise InputError("holds no rows", file=path, remedy="Give a file with at least one row")


def shards_of(folder: Path) -> list[Path]:
    """The files of rows in a folder and those below it, by name.

    Raises:
        InputError: there are none, or they are of several splits.
    """
    files = sorted(
        file
        for file in folder.rglob("*")
        if file.is_file()
        and _format_suffix(file) in _SUFFIXES
        and not any(part.startswith((".", "_")) for part in file.relative_to(folder).parts)
    )
    if not files:
        remedy = f"Put files there that end in {', '.join(_SUFFIXES)}, packed or not, or name one file"
        raise InputError("is a folder without files of rows", file=folder, remedy=remedy)
    splits = {split for file in files if (split := _split_of(file.relative_to(folder))) is not None}
    if len(splits) > 1:
        raise InputError(
            f"is a folder with several splits ({', '.join(sorted(splits))})",
            file=folder,
            remedy="Say which one with `type: datasets` and `split`, or name one split's files or folder",
        )
    return files


def _split_of(file: Path) -> str | None:
    """The split that a file's or folder's name says, as in train-00000-of-00002.parquet or test/0.jsonl."""
    names = {"train": "train", "training": "train", "validation": "validation", "valid": "validation"}
    names |= {"val": "validation", "dev": "validation", "test": "test", "testing": "test", "eval": "test"}
    for part in reversed(file.parts):
        words = part.lower().replace("_", "-").replace(".", "-").split("-")
        if found := [names[word] for word in words if word in names]:
            return found[0]
    return None


def _format_suffix(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    while suffixes and suffixes[-1] in PACKED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def _rows(path: Path) -> Iterator[tuple[int, Record]]:
    number = 0
    with opened(path) as (stream, packed, inner):
        try:
            magic = stream.peek(512)[:512]
            if magic.startswith(_PARQUET) or magic.startswith(_ARROW):
                if packed is not None:
                    remedy = "Unpack it first: these files are packed inside already"
                    raise InputError(f"is a packed ({packed}) Parquet or Arrow file", file=path, remedy=remedy)
                yield from parquet_rows(path) if magic.startswith(_PARQUET) else arrow_rows(path)
                return
            if (other := other_kind(inner, magic)) is not None:
                raise InputError(f"is {other[0]}", file=path, remedy=other[1])
            if b"\0" in magic[:4]:
                remedy = "Write its rows as JSON lines, CSV or Parquet; convert text to UTF-8"
                raise InputError("is no text in UTF-8: it begins with null bytes", file=path, remedy=remedy)
            suffix, first = (
                _format_suffix(inner) or _format_suffix(path),
                magic.removeprefix(b"\xef\xbb\xbf").lstrip()[:1],
            )
            if suffix in _TABLES and first not in (b"{", b"["):
                rows = text_table_rows(path, stream, tabs=_TABLES[suffix])
            else:
                rows = json_rows(path, stream)
            for number, record in rows:
                yield number, record
        except BROKEN as error:
            if packed is None:
                raise
            remedy = "Fetch or compress the file again"
            raise InputError(
                f"the {packed} data is broken ({error})", file=path, row=number + 1, remedy=remedy
            ) from error


def text_field(record: Record, field: str, *, file: Path | str, row: int) -> str:
    """The non-empty string that a row holds in `field`.

    Raises:
        InputError: the row lacks the field, or it is no string, empty, or not valid Unicode.
    """
    if field not in record:
        names = ", ".join(sorted(map(str, record))) or "none"
        remedy = f"Add it to the row, or name the right field in the configuration; the row has: {names}"
        raise InputError("is missing", file=file, row=row, field=field, remedy=remedy)
    value = record[field]
    remedy = "Mend or remove the row"
    if not isinstance(value, str):
        raise InputError(f"is {kind_of(value)}, not a string", file=file, row=row, field=field, remedy=remedy)
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
