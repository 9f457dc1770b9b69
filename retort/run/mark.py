"""The mark of a store's collection (`retort.run.garbage`): which contents go, unless somebody sends them again."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from retort.errors import IntegrityError
from retort.io.outages import explained, patiently

FOLDER, NAME = "gc", "marked.json"
"""Place of the mark in a store."""


@dataclass(frozen=True)
class Mark:
    """What the last collection of a store found that nobody refers to."""

    generation: int
    """Number of collections so far. It enters what pods are told, so that Kubeflow does not remember what is gone."""
    at: float
    """When it was made, seconds since 1970."""
    before: float
    """All of these were written before; what is written later was sent again."""
    contents: frozenset[str]

    def to_json(self) -> bytes:
        """As it is stored."""
        return json.dumps(asdict(self) | {"contents": sorted(self.contents)}, indent=1).encode()

    @classmethod
    def from_json(cls, content: bytes, place: str) -> Mark:
        """What `to_json` made.

        Raises:
            IntegrityError: it is damaged.
        """
        try:
            found = json.loads(content)
            times = float(found["at"]), float(found["before"])
            return cls(int(found["generation"]), *times, frozenset(map(str, found["contents"])))
        except (ValueError, KeyError, TypeError) as error:
            raise IntegrityError(
                f"{place}: is damaged ({error}). Remove it, and run `retort gc` again from the start."
            ) from error


def read_mark(store: Any) -> Mark | None:
    """The mark of a store, given as DVC's object database of its root; None where it was never collected.

    Raises:
        IntegrityError: it is damaged.
    """
    place = str(store.fs.join(store.path, FOLDER, NAME))

    def read() -> bytes | None:
        with explained(place):
            try:
                return bytes(store.fs.cat_file(place))
            except FileNotFoundError:
                return None

    content = patiently(f"reading {place}", read)
    return None if content is None else Mark.from_json(content, place)


def write_mark(store: Any, mark: Mark) -> None:
    """Keep a mark in a store."""
    place = str(store.fs.join(store.path, FOLDER, NAME))
    with explained(place):
        store.fs.makedirs(store.fs.parent(place), exist_ok=True)
        store.fs.pipe_file(place, mark.to_json())
