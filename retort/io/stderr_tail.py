"""The last lines that this process and its children wrote to stderr, for a summary of what failed."""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from types import TracebackType
from typing import Self


class Tail:
    """Keeps the last lines of stderr while it is entered; everything still goes where it went before."""

    def __init__(self, length: int = 25):
        self.lines: deque[str] = deque(maxlen=length)
        """The last lines, oldest first."""

    def __enter__(self) -> Self:
        sys.stderr.flush()
        self._kept = os.dup(2)
        read, write = os.pipe()
        os.dup2(write, 2)
        os.close(write)
        self._thread = threading.Thread(target=self._copy, args=(read,), name="tail", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        sys.stderr.flush()
        os.dup2(self._kept, 2)
        # A process that outlives this block may still hold the pipe: then its end does not come.
        self._thread.join(timeout=1)
        os.close(self._kept)

    def _copy(self, read: int) -> None:
        out = os.dup(self._kept)
        with os.fdopen(read, "rb", buffering=0) as stream, os.fdopen(out, "wb", buffering=0) as target:
            rest = b""
            while chunk := stream.read(65536):
                target.write(chunk)
                *whole, rest = (rest + chunk).split(b"\n")
                # Of a progress bar, which writes over itself, what it showed last.
                shown = (line.rstrip(b"\r").rpartition(b"\r")[2] for line in whole)
                self.lines.extend(line.decode(errors="replace") for line in shown if line.strip())
                rest = rest[-65536:]
