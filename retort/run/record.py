"""When a workspace was last run, by whom, on which commit, and how that ended.

Kept in `.retort/run.json`, apart from what is versioned: none of it decides a result.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import socket
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from retort.io.files import write_json
from retort.run.surroundings import commit

FILE = ".retort/run.json"

State = Literal["running", "succeeded", "failed", "lost"]
"""`lost`: its process is gone without having said how it ended."""


@dataclass(frozen=True)
class Record:
    """The last run of one workspace."""

    started: str
    """UTC, ISO 8601."""
    ended: str | None = None
    state: State = "running"
    who: str = ""
    """User and machine, `ada@box`."""
    commit: str | None = None
    """Of the git repository that it was started in; `-dirty` where tracked files differed."""
    ran: int | None = None
    """Tasks that ran or were restored."""
    problem: str = ""
    """Why it failed, in one line."""
    process: int = 0


@contextlib.contextmanager
def recorded(root: Path) -> Iterator[list[str]]:
    """Keep a record of the block, a run of the workspace `root`; the block adds the addresses of tasks that ran."""
    ran: list[str] = []
    begun = Record(_now(), who=who(), commit=commit(), process=os.getpid())
    write_record(root, begun)
    try:
        yield ran
    except BaseException as error:
        words = str(error).partition("\n")[0] or type(error).__name__
        write_record(root, replace(begun, ended=_now(), state="failed", problem=words))
        raise
    write_record(root, replace(begun, ended=_now(), state="succeeded", ran=len(ran)))


def read_record(root: Path) -> Record | None:
    """The last run of a workspace; None where none is recorded or the record cannot be read."""
    try:
        found = Record(**json.loads((root / FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    if found.state == "running" and found.who == who() and not _lives(found.process):
        return replace(found, state="lost", problem="its process ended without a word")
    return found


def write_record(root: Path, record: Record) -> None:
    """Keep `record` as the last run of a workspace."""
    write_json(root / FILE, asdict(record))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def who() -> str:
    """User and machine of this process, `ada@box`."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # an arbitrary uid without a name, as pods have
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
