"""What a person sees of a run, apart from what libraries write.

`retort run` shows one line a task and one bar at a time. Its tasks are processes of their own: with RETORT_OUTPUT
`calm` or `quiet` what such a process and its libraries write goes to a log file, and only `Progress`, Retort's warnings
and the error that ends it reach the terminal. Without the variable, as in a pod, everything goes to stderr.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, TextIO

from tqdm import tqdm

Level = Literal["quiet", "calm", "verbose"]
VARIABLE = "RETORT_OUTPUT"

_screen: TextIO | None = None


def level() -> Level:
    """How much is shown; `verbose`, which is everything, where nobody says."""
    given = os.environ.get(VARIABLE, "verbose")
    return "quiet" if given == "quiet" else "calm" if given == "calm" else "verbose"


@contextlib.contextmanager
def showing(wanted: Level) -> Iterator[None]:
    """In the block, show so much, in this process and those that it starts."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = wanted
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(VARIABLE, None)
        else:
            os.environ[VARIABLE] = before


def screen() -> TextIO:
    """Where progress and messages go."""
    return _screen or sys.stderr


def say(line: str) -> None:
    """Show a line, above a bar that may be there."""
    with tqdm.external_write_mode(file=screen()):
        print(line, file=screen(), flush=True)


@contextlib.contextmanager
def aside(log: Path) -> Iterator[None]:
    """In the block, what this process writes goes to the end of `log`, unless everything is to be shown.

    Warnings of Retort are shown too; nothing of an error that ends the block is, which is its caller's to tell.
    """
    global _screen  # noqa: PLW0603
    if level() == "verbose":
        yield
        return
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
    _screen = os.fdopen(os.dup(kept[1]), "w", buffering=1, encoding="utf-8", errors="replace")
    before, handlers = logging.getLogger("retort").level, _logging()
    try:
        yield
    finally:
        logging.captureWarnings(False)
        logging.getLogger("retort").setLevel(before)
        for name, handler in handlers:
            logging.getLogger(name).removeHandler(handler)
            handler.close()
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(kept[0], 1)
        os.dup2(kept[1], 2)
        for one in kept:
            os.close(one)
        _screen.close()
        _screen = None


class _Shown(logging.Handler):
    """Shows a record as a line."""

    def emit(self, record: logging.LogRecord) -> None:
        """Show it."""
        say(f"warning: {record.getMessage()}")


def _logging() -> list[tuple[str, logging.Handler]]:
    logging.captureWarnings(True)
    file, shown = logging.StreamHandler(os.fdopen(os.dup(2), "w", buffering=1)), _Shown(logging.WARNING)
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.getLogger().addHandler(file)
    logging.getLogger("retort").addHandler(shown)
    logging.getLogger("retort").setLevel(logging.INFO)
    return [("", file), ("retort", shown)]
