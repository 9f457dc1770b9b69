"""Records of equal runs: what a stage made of which inputs, so that nobody makes it twice.

DVC keeps one file a run, `runs/KK/KEY/VALUE`: KEY is a hash of what went in, VALUE of that and what came out. So a
record says itself whether it is whole. One that is not, or that was made of an input of another size than recorded (of
a damaged one, before inputs were verified), is passed over and said; `retort verify --repair` removes it.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from retort.io.outages import explained

_log = logging.getLogger(__name__)

Parse = Callable[[str, str, bytes], dict[str, Any] | None]
"""Gives the record with a key, a value and this content, or None where the content is not what they say."""


@dataclass(frozen=True)
class Place:
    """Where records are: DVC's object database that holds `runs/`, in the cache or in the remote."""

    odb: Any

    def path(self, key: str, value: str = "") -> str:
        """Of a record, or of all with a key."""
        parts = [part for part in ("runs", key[:2], key, value) if part]
        return str(self.odb.fs.join(self.odb.path, *parts))

    def read(self, key: str) -> dict[str, bytes]:
        """The records with this key, by value."""
        folder = self.path(key)
        with explained(folder):
            if not self.odb.fs.exists(folder):
                return {}
            files = [str(file) for file in self.odb.fs.find(folder)]
            return {self.odb.fs.name(file): self.odb.fs.cat_file(file) for file in files}

    def read_one(self, key: str, value: str) -> bytes | None:
        """A record; None where it is not there."""
        with explained(self.path(key, value)):
            try:
                content: bytes = self.odb.fs.cat_file(self.path(key, value))
            except FileNotFoundError:
                return None
        return content

    def write(self, key: str, value: str, content: bytes) -> None:
        """Keep a record; it is there whole or not at all."""
        file = self.path(key, value)
        with explained(file):
            self.odb.fs.makedirs(self.odb.fs.parent(file), exist_ok=True)
            if self.odb.fs.protocol == "local":
                temporary = f"{file}.tmp"
                self.odb.fs.pipe_file(temporary, content)
                self.odb.fs.mv(temporary, file)
            else:
                self.odb.fs.pipe_file(file, content)

    def remove(self, key: str, value: str) -> None:
        """Forget a record."""
        with explained(self.path(key, value)), contextlib.suppress(FileNotFoundError):
            self.odb.fs.rm_file(self.path(key, value))
            if self.odb.fs.protocol == "local" and not self.odb.fs.ls(self.path(key)):
                self.odb.fs.rmdir(self.path(key))  # DVC takes a folder for a record

    def names(self) -> Iterator[tuple[str, str]]:
        """Key and value of every record."""
        folder = str(self.odb.fs.join(self.odb.path, "runs"))
        with explained(folder):
            files = self.odb.fs.find(folder) if self.odb.fs.exists(folder) else []
        for file in sorted(files):
            if (found := names_of(self.odb.fs.parts(file))) is not None:
                yield found


def names_of(parts: Sequence[str]) -> tuple[str, str] | None:
    """Key and value of the record at a path; None for others: the records of a whole run lie under `runs/` too."""
    if len(parts) < 4 or parts[-4] != "runs":
        return None
    key, value = str(parts[-2]), str(parts[-1])
    is_record = parts[-3] == key[:2] and _HASH.fullmatch(key) and _HASH.fullmatch(value)
    return (key, value) if is_record else None


_HASH = re.compile(r"[0-9a-f]{64}")


def disagreements(record: Mapping[str, Any], sizes: Mapping[str, int]) -> list[str]:
    """Inputs and outputs of a record whose size is not that of their content: it was made of, or made, something else.

    Args:
        record: The record.
        sizes: Size of contents that are known to be right, in bytes.
    """
    entries = [*record.get("deps", []), *record.get("outs", [])]
    return [
        str(entry["path"])
        for entry in entries
        if "size" in entry and entry.get("md5") in sizes and entry["size"] != sizes[entry["md5"]]
    ]


def copy(source: Place, target: Place, key: str, parse: Parse) -> list[dict[str, Any]]:
    """Copy the whole records with a key; return them. Others are passed over with a warning."""
    records = []
    for value, content in source.read(key).items():
        record = parse(key, value, content)
        if record is None:
            _log.warning(
                "%s: this record of an equal run is damaged, so it is not used. `retort verify --repair` removes it.",
                source.path(key, value),
            )
            continue
        target.write(key, value, content)
        records.append(record)
    return records
