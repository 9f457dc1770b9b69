"""Progress in a log: plain lines, not too many, the last one always."""

from __future__ import annotations

import re

import pytest

from retort.io import progress
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


def test_a_terminal_gets_a_bar(capsys, monkeypatch):
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True)
    with Progress("sft", total=4, unit="steps", done=1) as bar:
        bar.update(3, loss=0.5)
    assert re.search(r"sft: 100%.* 4/4 .*loss=0\.5", capsys.readouterr().err)
