"""Going when told to: a node is drained, a pod preempted, a run cancelled (SIGTERM); a person presses Ctrl-C (SIGINT).

A stage ends at once with the exit code for "try again", and nothing half-written stays. A training loop is let finish
its step first and write a checkpoint, so that the next attempt loses no step.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

from retort.errors import InterruptionError
from retort.modeling.process_group import process_group

_asked = False
_signal = "SIGTERM"
"""Which signal asked."""
_deferring = 0


def listen() -> None:
    """From here on SIGTERM and Ctrl-C end this process's stage by an InterruptionError."""
    signal.signal(signal.SIGTERM, _hear)
    signal.signal(signal.SIGINT, _hear)


def _hear(number: int, _frame: FrameType | None) -> None:
    global _asked, _signal  # noqa: PLW0603
    first, _asked = not _asked, True
    if first:
        _signal = signal.Signals(number).name
    if first and not _deferring:  # a second one must not cut the tidying-up short
        raise InterruptionError(_signal)


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Let the block go on after SIGTERM; it calls `check` where it can stop."""
    global _deferring  # noqa: PLW0603
    _deferring += 1
    try:
        yield
    finally:
        _deferring -= 1


def asked() -> bool:
    """Whether this process, or another of its group, has been told to go; all of a group ask together."""
    global _asked  # noqa: PLW0603
    _asked = process_group().any(_asked)
    return _asked


def check() -> None:
    """End here if this process, or another of its group, has been told to go; all of a group check together.

    Raises:
        InterruptionError: it has.
    """
    if asked():
        raise InterruptionError(_signal)


@contextlib.contextmanager
def passed_on() -> Iterator[None]:
    """Pass SIGTERM on to the processes that this one waits for, and wait on: they end themselves, in order."""
    import psutil

    def forward(number: int, _: FrameType | None) -> None:
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                child.send_signal(number)

    before = signal.signal(signal.SIGTERM, forward)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
