"""Telling a tracker things from a thread, so that neither its slowness nor its absence reaches who tells them."""

from __future__ import annotations

import logging
import re
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from retort.errors import harmless
from retort.tracking.protocol import Outcome, RefusedError, Row, Subject, Tracker

_log = logging.getLogger(__name__)

MOST_ROWS = 20_000
"""Rows that wait for a tracker that is away; older ones are dropped and counted."""
BATCH = 500
INTERVAL_S = 1.0
"""Between two batches of rows: a tracker is no faster, and a server has many clients."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 2.0, 60.0
PATIENCE_S = 15.0
"""How long the end of a stage waits for a tracker that has answered so far."""
IMPATIENCE_S = 2.0
"""How long it waits for one that is away."""
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")


def clean(text: str) -> str:
    """Text without control characters, secrets of the environment or credentials in addresses."""
    return _CREDENTIALS.sub("", harmless(text))


@dataclass
class _Item:
    said: Subject | Outcome | list[Row]

    def tell(self, tracker: Tracker) -> None:
        if isinstance(self.said, Subject):
            tracker.begin(self.said)
        elif isinstance(self.said, Outcome):
            tracker.end(self.said)
        else:
            tracker.rows(self.said)

    @property
    def rows(self) -> int:
        return len(self.said) if isinstance(self.said, list) else 0


class Sender:
    """Tells one tracker about one task.

    Args:
        make: Makes the tracker, in the thread: importing its package alone takes seconds.
        name: Of the tracker and the task, for messages.
        sent: Is called with rows that have arrived.
    """

    def __init__(self, make: Callable[[], Tracker], name: str, sent: Callable[[Sequence[Row]], None]):
        self._make, self._name, self._sent = make, name, sent
        self._changed = threading.Condition()
        self._waiting: deque[_Item] = deque()
        self._told: _Item | None = None
        """What the tracker is being told now."""
        self._closed = self._over = False
        self._problem = ""
        """Why nothing arrives just now."""
        self._lost = {"rows": 0, "messages": 0}
        self._why = ""
        self._thread = threading.Thread(target=self._work, name=f"tracker {name}", daemon=True)
        self._thread.start()

    def put(self, said: Subject | Outcome | Row) -> None:
        """Have the tracker told, soon."""
        with self._changed:
            if self._over:
                self._lose(_Item([said] if isinstance(said, Row) else said), self._why)
            elif isinstance(said, Row):
                self._put_row(said)
            else:
                self._waiting.append(_Item(said))
            self._changed.notify()

    def close(self) -> str:
        """Wait a little for what has not arrived; what never will, in words, empty where all has."""
        with self._changed:
            self._closed = True
            self._changed.notify()
            patience = IMPATIENCE_S if self._problem else PATIENCE_S
        self._thread.join(patience)
        with self._changed:
            unanswered = [self._told] if self._told and self._thread.is_alive() else []
            for item in [*unanswered, *self._waiting]:
                self._lose(item, self._problem or f"it takes longer than {patience:g} s")
            self._waiting.clear()
        if not any(self._lost.values()):
            return ""
        words = [f"{count} {what}" for what, count in self._lost.items() if count]
        return f"{self._name}: {' and '.join(words)} did not arrive there ({self._why}); the stage is not affected"

    def _put_row(self, row: Row) -> None:
        last = self._waiting[-1].said if self._waiting else None
        if isinstance(last, list) and len(last) < BATCH:
            last.append(row)
        else:
            self._waiting.append(_Item([row]))
        if sum(item.rows for item in self._waiting) > MOST_ROWS:
            oldest = next(item for item in self._waiting if item.rows)
            self._lose(oldest, self._problem or "it is too slow")
            self._waiting.remove(oldest)

    def _work(self) -> None:
        tracker: Tracker | None = None
        pause = FIRST_PAUSE_S
        while (item := self._next()) is not None:
            tried_last = self._closed
            try:
                tracker = tracker or self._make()
                item.tell(tracker)
            except RefusedError as error:
                self._said(error, f"refuses what it is told of {type(item.said).__name__.lower()}")
                with self._changed:
                    self._lose(item, self._why)
                    if isinstance(item.said, Subject):  # there is no run that anything else could be told of
                        self._over = True
                        return
                continue
            except Exception as error:  # noqa: BLE001 - whatever a tracker raises is no reason for a stage to end
                self._said(error, "cannot be reached")
                with self._changed:
                    self._waiting.appendleft(item)
                    self._told = None
                    if tried_last:
                        return
                    self._changed.wait_for(lambda: self._closed, pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)
                continue
            self._told, self._problem, pause = None, "", FIRST_PAUSE_S
            if isinstance(item.said, list):
                self._sent(item.said)
                with self._changed:  # rows gather meanwhile
                    self._changed.wait_for(lambda: self._closed, INTERVAL_S)

    def _next(self) -> _Item | None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or bool(self._waiting))
            self._told = self._waiting.popleft() if self._waiting else None
            return self._told

    def _said(self, error: Exception, what: str) -> None:
        """The first problem is said at once, and how much was lost at the end."""
        words = clean(" ".join(str(error).split()) or type(error).__name__)[:300]
        with self._changed:
            first = not self._why
            self._problem = self._why = words
        if first:
            _log.warning("tracker %s %s (%s); the stage goes on without it", self._name, what, words)

    def _lose(self, item: _Item, why: str) -> None:
        self._lost["rows" if item.rows else "messages"] += item.rows or 1
        self._why = why
