"""Progress of long work on stderr: a bar on a terminal, a plain line every few seconds in a log."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from tqdm import tqdm

from retort.io import terminal
from retort.io.rank import is_rank_zero

_LINE_SECONDS = 5.0
_REDRAW_SECONDS = 0.1


class Progress:
    """Counts work done; shows rate and time left, with any figures given to `update`."""

    def __init__(self, words: str, *, total: int, unit: str, done: int = 0):
        self.words, self.total, self.unit, self.done, self._first = words, total, unit, done, done
        self._started = self._last_line = time.monotonic()
        self._bar = None
        level, screen = terminal.level(), terminal.screen()
        self._shown = is_rank_zero() and level != "quiet"
        self._last_line_always = level == "verbose"
        if self._shown and screen.isatty():
            self._bar = tqdm(
                total=total,
                initial=done,
                desc=words,
                unit=unit,
                file=screen,
                leave=level == "verbose",
                mininterval=_REDRAW_SECONDS,
                dynamic_ncols=True,
            )

    def update(self, count: int = 1, **figures: float) -> None:
        """Count `count` more units as done; `figures` are shown beside the rate."""
        self.done += count
        shown = {name: f"{value:.4g}" for name, value in figures.items()}
        if self._bar is not None:
            self._bar.set_postfix(shown, refresh=False)  # shown by the next redraw, of which there are few
            self._bar.update(count)
        elif self._shown and self._due(now := time.monotonic()):
            self._last_line = now
            rate = (self.done - self._first) / max(now - self._started, 1e-9)
            left = (self.total - self.done) / rate if rate else float("nan")
            tail = "".join(f", {name} {value}" for name, value in shown.items())
            print(
                f"{self.words}: {self.done}/{self.total} {self.unit}, {rate:.1f} {self.unit}/s, "
                f"{left:.0f} s left{tail}",
                file=terminal.screen(),
            )

    def _due(self, now: float) -> bool:
        """Whether a log gets a line; the last one where there were others, or where everything is shown."""
        if self.done >= self.total:
            return self._last_line_always or self._last_line > self._started
        return now - self._last_line >= _LINE_SECONDS

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
