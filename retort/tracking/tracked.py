"""The task of this process as a tracker sees it; one that nobody asked for is told nothing.

A killed task that is resumed goes on under the key that its resume state holds, and no row is told twice: what is done
again has the same figures.
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from retort.errors import InterruptionError, RetortError
from retort.io.files import write_json
from retort.io.rank import is_rank_zero
from retort.tracking.protocol import Outcome, Row, Subject, Tracker
from retort.tracking.sender import Sender, clean

FILE = "tracker.json"
"""In a task's resume state: its key, and the last step of each figure that has arrived."""

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")


class Tracked:
    """One task.

    Args:
        make: Makes the tracker.
        kind: Its name, for messages.
        subject: The task; its key is what a new execution gets.
        state: Folder where its resume state is, if there is any.
    """

    def __init__(self, make: Callable[[], Tracker], kind: str, subject: Subject, state: Path):
        self._subject, self._state = subject, state
        self._kept: Path | None = None
        self._arrived: dict[str, int] = {}
        self._begun = False
        self._sender = Sender(make, f"{kind}, of {subject.task}", self._note)
        # Whether an earlier state is this task's own is known only when the stage asks for it.
        if not (state / FILE).exists():
            self._begin(subject.key)

    def kept_in(self, folder: Path) -> None:
        """The task's resume state is `folder`: one that holds a key is gone on with."""
        try:
            told = json.loads((folder / FILE).read_text(encoding="utf-8"))
            key, arrived = str(told["key"]), {str(name): int(step) for name, step in told["arrived"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            key, arrived = self._subject.key, {}
        if not self._begun:
            self._arrived = arrived
            self._begin(key)
        self._kept = folder
        self._write()

    def curve(self, step: int, figures: Mapping[str, float]) -> None:
        """Figures of one step of a curve."""
        new = {name: float(value) for name, value in figures.items() if step > self._arrived.get(name, -1)}
        if new:
            self._sender.put(Row(step, new, time.time()))

    def end(self, outcome: Outcome) -> None:
        """The task has ended; waits seconds at most."""
        if not self._begun:
            self._begin(self._subject.key)
        self._sender.put(outcome)
        if words := self._sender.close():
            _log.warning("tracker %s", words)

    def _begin(self, key: str) -> None:
        self._begun = True
        parameters = {
            name: clean(one) if isinstance(one, str) else one for name, one in self._subject.parameters.items()
        }
        tags = {name: clean(value) for name, value in self._subject.tags.items()}
        self._subject = replace(self._subject, key=key, parameters=parameters, tags=tags)
        self._sender.put(self._subject)

    def _note(self, rows: Sequence[Row]) -> None:
        for row in rows:
            for name in row.figures:
                self._arrived[name] = max(row.step, self._arrived.get(name, -1))
        self._write()

    def _write(self) -> None:
        if self._kept is not None and self._kept.is_dir():
            with contextlib.suppress(RetortError):  # a full disk is said by who needs it
                write_json(self._kept / FILE, {"key": self._subject.key, "arrived": dict(self._arrived)})


_current: list[Tracked] = []


def current() -> Tracked | None:
    """The task that this process tells a tracker of; None where no tracker is asked for."""
    return _current[-1] if _current else None


@contextlib.contextmanager
def tracking(tracked: Callable[[], Tracked | None], outcome: Callable[[], Outcome]) -> Iterator[None]:
    """Tell a tracker of the block: one process of a group does.

    Args:
        tracked: The task; None where no tracker is asked for.
        outcome: How it ended, asked where it ended well.
    """
    task = _tried(tracked) if is_rank_zero() else None
    if task is None:
        yield
        return
    _current.append(task)
    try:
        yield
    except BaseException as error:
        stopped = isinstance(error, InterruptionError | KeyboardInterrupt)
        task.end(Outcome("stopped" if stopped else "failed"))
        raise
    else:
        task.end(_tried(outcome) or Outcome("finished"))
    finally:
        _current.pop()


def _tried(what: Callable[[], _Result]) -> _Result | None:
    """What `what` returns; None, said, where it fails: what a tracker is told is no reason for a stage to end."""
    try:
        return what()
    except Exception as error:  # noqa: BLE001
        _log.warning("a tracker is not told all of this task: %s", clean(str(error)))
        return None


def new_key() -> str:
    """A key that nobody else has."""
    return uuid.uuid4().hex
