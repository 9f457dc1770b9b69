"""Comparing mathematical expressions through math-verify, with a time limit that really ends it.

SymPy can take forever, inside C code too, where no signal or thread reaches it. So it works in a process of its own,
which is killed when its time is up and started again for the next question.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import subprocess
import sys
import threading
from dataclasses import dataclass, field

_START_SECONDS = 120.0
_LONGEST = 2000


@dataclass
class _Worker:
    process: subprocess.Popen[bytes] | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)
    owner: int = 0

    def ask(self, question: list[str], time_limit: float) -> bool:
        with self.lock:
            if self.process is None or self.process.poll() is not None or self.owner != os.getpid():
                self._start()
            assert self.process is not None
            assert self.process.stdin is not None
            try:
                self.process.stdin.write(json.dumps(question).encode() + b"\n")
                self.process.stdin.flush()
            except BrokenPipeError:
                self.stop()
                return False
            return self._line(time_limit) == b"1"

    def stop(self) -> None:
        """Kill the process, if this process started it."""
        if self.process is not None and self.owner == os.getpid():
            self.process.kill()
            self.process.communicate()
        self.process = None

    def _start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "retort.text.expressions"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self.owner = os.getpid()
        if self._line(_START_SECONDS) != b"ready":
            raise RuntimeError("the process that compares expressions did not start; is math-verify installed?")

    def _line(self, time_limit: float) -> bytes:
        assert self.process is not None
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], time_limit)
        if not ready:
            self.stop()
            return b""
        return self.process.stdout.readline().strip()


_WORKER = _Worker()
atexit.register(_WORKER.stop)


def equivalent(a: str, b: str, time_limit: float) -> bool:
    """Whether math-verify finds two expressions equivalent within `time_limit` seconds.

    The result is the same in either order: math-verify treats gold and answer differently, so both ways count.
    """
    if max(len(a), len(b)) > _LONGEST:
        return False
    return _WORKER.ask(sorted([a, b]), time_limit)


def _serve() -> None:
    from math_verify import parse, verify

    out = sys.stdout.buffer
    out.write(b"ready\n")
    out.flush()
    for line in sys.stdin.buffer:
        first, second = (
            parse(f"${text.strip().strip('$')}$", parsing_timeout=None, raise_on_error=False)
            for text in json.loads(line)
        )
        same = verify(first, second, timeout_seconds=None, raise_on_error=False) or verify(
            second, first, timeout_seconds=None, raise_on_error=False
        )
        out.write(b"1\n" if same else b"0\n")
        out.flush()


if __name__ == "__main__":
    _serve()
