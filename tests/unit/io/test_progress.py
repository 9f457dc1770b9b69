"""Progress in a log: plain lines, not too many, the last one always."""

from __future__ import annotations

import io
import re
import time

import pytest

from retort.io import progress, terminal
from retort.io.progress import Progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is told to go on."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def lines(capsys) -> list[str]:
    found = capsys.readouterr()
    assert found.out == ""
    return found.err.splitlines()


def test_lines_have_rate_time_left_and_figures_and_come_every_few_seconds(capsys, clock):
    with Progress("sft", total=100, unit="steps") as bar:
        for _ in range(60):
            clock[0] += 0.2
            bar.update(loss=0.123456)
    # After 5 s, then 10 s: 25 and 50 steps at 5 a second.
    assert lines(capsys) == [
        "sft: 25/100 steps, 5.0 steps/s, 15 s left, loss 0.1235",
        "sft: 50/100 steps, 5.0 steps/s, 10 s left, loss 0.1235",
    ]


def test_the_last_unit_is_always_said(capsys, clock):
    with Progress("votes", total=3, unit="prompts") as bar:
        for _ in range(3):
            clock[0] += 0.1
            bar.update()
    assert lines(capsys) == ["votes: 3/3 prompts, 10.0 prompts/s, 0 s left"]


def test_the_rate_of_a_resumed_run_counts_only_what_it_did_itself(capsys, clock):
    with Progress("ppo", total=100, unit="iterations", done=90) as bar:
        clock[0] += 6
        bar.update(3)
    # 3 in 6 s, 7 left at 0.5 a second.
    assert lines(capsys) == ["ppo: 93/100 iterations, 0.5 iterations/s, 14 s left"]


def test_under_retort_run_a_log_has_the_last_line_only_of_what_took_long(capsys, clock):
    with terminal.showing("calm"):
        for seconds in (0.1, 6.0):
            with Progress("votes", total=2, unit="prompts") as bar:
                for _ in range(2):
                    clock[0] += seconds
                    bar.update()
    assert [line.partition(",")[0] for line in lines(capsys)] == ["votes: 1/2 prompts", "votes: 2/2 prompts"]


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def shown(self) -> str:
        """What was written since this was asked last."""
        found = self.getvalue()
        self.truncate(0)
        self.seek(0)
        return found


@pytest.fixture
def tty(monkeypatch):
    """A terminal that a run is shown on."""
    monkeypatch.setattr(terminal, "_screen", made := _Terminal())
    return made


def test_a_terminal_gets_a_bar(tty):
    with Progress("sft", total=4, unit="steps", done=1) as bar:
        time.sleep(0.11)
        bar.update(3, loss=0.5)
    assert re.search(r"sft: 100%.* 4/4 .*loss=0\.5", tty.shown())


def test_a_bar_is_redrawn_ten_times_a_second_at_most(tty):
    started = time.monotonic()
    with Progress("duplicates", total=20_000, unit="prompts") as bar:
        for number in range(20_000):
            bar.update(figure=number)
    drawn = tty.shown().count("\r")
    assert drawn >= 2
    assert drawn <= 10 * (time.monotonic() - started) + 3  # the first, the last, and what closes it


def test_under_retort_run_a_bar_leaves_nothing_behind_and_quiet_shows_none(tty):
    with terminal.showing("calm"), Progress("sft", total=4, unit="steps") as bar:
        bar.update(4)
    assert tty.shown().rstrip("\r").rpartition("\r")[2].strip() == ""  # blanked out
    with terminal.showing("quiet"), Progress("sft", total=4, unit="steps") as bar:
        bar.update(4)
    assert tty.shown() == ""
