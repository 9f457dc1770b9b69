"""A tracker that is slow, away or refuses costs a stage neither its result nor its time; what is lost is counted."""

from __future__ import annotations

import threading
import time

import pytest

from retort.tracking import sender as module
from retort.tracking.protocol import Outcome, RefusedError, Row, Subject
from retort.tracking.sender import Sender, clean

SUBJECT = Subject("demo", "g", "ppo-ppo", "ppo", "k", {})


class Notes:
    """A tracker that writes down what it is told, after what `fails` raises for it."""

    def __init__(self, fails=None):
        self.said, self._fails = [], fails

    def _note(self, said):
        if self._fails:
            self._fails(said)
        self.said.append(said)

    def begin(self, subject):
        self._note(subject)

    def rows(self, rows):
        self._note([row.step for row in rows])

    def end(self, outcome):
        self._note(outcome)


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(module, "INTERVAL_S", 0.01)
    monkeypatch.setattr(module, "PATIENCE_S", 5.0)
    monkeypatch.setattr(module, "IMPATIENCE_S", 0.5)


def tell(notes, steps=3, **given):
    arrived = []
    made = Sender(lambda: notes, "notes", arrived.extend)
    made.put(SUBJECT)
    for step in range(steps):
        made.put(Row(step, {"loss": 1.0}, 0.0))
    made.put(Outcome("finished"))
    return made.close(), [row.step for row in arrived]


def test_all_arrives_in_order_and_nothing_is_said(caplog):
    notes = Notes()
    assert tell(notes) == ("", [0, 1, 2])
    assert notes.said[0] == SUBJECT
    assert [step for rows in notes.said[1:-1] for step in rows] == [0, 1, 2]
    assert notes.said[-1] == Outcome("finished")
    assert caplog.messages == []


def test_one_that_is_away_for_a_while_loses_nothing_and_is_said_once(caplog):
    away = [OSError("connection refused")] * 5

    def fails(said):
        if away:
            raise away.pop()

    notes = Notes(fails)
    made = Sender(lambda: notes, "notes", list)
    made.put(SUBJECT)
    for step in range(3):
        made.put(Row(step, {"loss": 1.0}, 0.0))
    while not notes.said:
        time.sleep(0.01)
    made.put(Outcome("finished"))
    assert made.close() == ""
    assert notes.said[0] == SUBJECT
    assert notes.said[-1] == Outcome("finished")
    assert caplog.messages == ["tracker notes cannot be reached (connection refused); the stage goes on without it"]


def test_one_that_stays_away_is_not_waited_for_and_what_it_lost_is_counted(caplog):
    def fails(said):
        raise OSError("connection refused")

    before = time.monotonic()
    words, arrived = tell(Notes(fails))
    assert time.monotonic() - before < 2
    # 3 rows; 2 messages: the task's begin and its end.
    assert words == "notes: 3 rows and 2 messages did not arrive there (connection refused); the stage is not affected"
    assert arrived == []
    assert len(caplog.messages) == 1


def test_one_that_answers_nothing_is_given_up_after_a_while(monkeypatch):
    monkeypatch.setattr(module, "PATIENCE_S", 0.2)
    held = threading.Event()

    def fails(said):
        held.wait(10)

    words, _ = tell(Notes(fails))
    held.set()
    assert "3 rows and 2 messages did not arrive there (it takes longer than 0.2 s)" in words


def test_what_is_refused_is_dropped_and_the_next_is_told():
    def fails(said):
        if isinstance(said, list) and 1 in said:
            raise RefusedError("no such metric")

    notes = Notes(fails)
    made = Sender(lambda: notes, "notes", list)
    made.put(SUBJECT)
    for step in range(3):
        made.put(Row(step, {"loss": 1.0}, 0.0))
        time.sleep(0.1)  # each a batch of its own
    made.put(Outcome("finished"))
    assert made.close() == "notes: 1 rows did not arrive there (no such metric); the stage is not affected"
    assert notes.said == [SUBJECT, [0], [2], Outcome("finished")]


def test_of_a_refused_task_nothing_else_is_told():
    def fails(said):
        if said is SUBJECT:
            raise RefusedError("no right")

    notes = Notes(fails)
    assert tell(notes) == (
        "notes: 3 rows and 2 messages did not arrive there (no right); the stage is not affected",
        [],
    )
    assert notes.said == []


def test_no_more_rows_wait_than_there_is_room_for(monkeypatch):
    monkeypatch.setattr(module, "MOST_ROWS", 4)
    monkeypatch.setattr(module, "BATCH", 2)

    def fails(said):
        raise OSError("away")

    words, _ = tell(Notes(fails), steps=9)
    assert words.startswith("notes: 9 rows and 2 messages did not arrive")


def test_no_secret_reaches_a_tracker(monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "sk-123456789")
    assert clean("key sk-123456789 at http://ada:pass@host/x\x1b") == "key [SOME_API_KEY] at http://host/x\\x1b"
