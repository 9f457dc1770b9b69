"""Comparing mathematical expressions through math-verify, with a time limit that really ends it.

SymPy can take forever, inside C code too, where no signal or thread reaches it. So it works in a process of its own,
which the kernel ends when its processor time is up, and which is started again for the next question. The limit is
on processor time, so that a busy machine decides as an idle one does.
"""

from __future__ import annotations

import atexit
import json
import math
import os
import re
import resource
import select
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Any

_START_SECONDS = 300.0
_WALL = 30.0
"""Wall time, as a multiple of the processor time allowed, after which a process that hangs is killed."""
_LONGEST = 2000
_MEMORY = 4 << 30
"""Bytes of address space for a comparison: a tower of powers would take all there is before its time is up."""


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
                self.process.stdin.write(json.dumps([*question, time_limit]).encode() + b"\n")
                self.process.stdin.flush()
            except BrokenPipeError:
                self.stop()
                return False
            return self._line(_WALL * time_limit) == b"1"

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
        line = self.process.stdout.readline().strip() if ready else b""
        if not line:
            self.stop()
        return line


_WORKER = _Worker()
atexit.register(_WORKER.stop)


def equivalent(a: str, b: str, time_limit: float) -> bool:
    """Whether math-verify finds two expressions equivalent within `time_limit` seconds of processor time.

    The result is the same in either order: math-verify treats gold and answer differently, so both ways count.
    """
    if max(len(a), len(b)) > _LONGEST:
        return False
    return _WORKER.ask(sorted([a, b]), time_limit)


def _serve() -> None:
    out = sys.stdout.buffer
    _verified("x+1", "1+x")  # loads what is loaded late
    out.write(b"ready\n")
    out.flush()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    for line in sys.stdin.buffer:
        first, second, seconds = json.loads(line)
        resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(time.process_time() + seconds), hard))
        out.write(b"1\n" if _verified(first, second) else b"0\n")
        out.flush()


def _verified(first: str, second: str) -> bool:
    """Whether math-verify finds two expressions equal that it has read whole, and their values really are."""
    from math_verify import parse, verify

    one, other = (
        parse(f"${text.strip().strip('$')}$", parsing_timeout=None, raise_on_error=False) for text in (first, second)
    )
    if not (_read_whole(one, first) and _read_whole(other, second)):
        return False
    other[0] = _with_symbols_of(one[0], other[0])
    equal = any(verify(*pair, timeout_seconds=None, raise_on_error=False) for pair in ((one, other), (other, one)))
    return equal and _same_values(one[0], other[0])


def _with_symbols_of(one: Any, other: Any) -> Any:
    """The second expression with the first one's symbols: 2i + 1 has a real i to math-verify, 1 + 2i none."""
    import sympy

    if not (isinstance(one, sympy.Basic | sympy.MatrixBase) and isinstance(other, sympy.Basic | sympy.MatrixBase)):
        return other
    known = {symbol.name: symbol for symbol in one.free_symbols}
    return other.xreplace({symbol: known[symbol.name] for symbol in other.free_symbols if symbol.name in known})


def _read_whole(parsed: list[Any], text: str) -> bool:
    """Whether nothing of the text was dropped: `[1, '1+']` is what is parsed of 1+\\mathrm{e}."""
    return len(parsed) > 1 and len(_squashed(str(parsed[-1]))) >= len(_squashed(text))


def _squashed(text: str) -> str:
    return re.sub(r"[\s{}$()]|\\(?:left|right|text|mathrm|cdot|times|[,;:! ])", "", text)


def _same_values(one: Any, other: Any) -> bool:
    """Whether two parsed expressions have equal values where they have any, relative to their size.

    math-verify rounds to six decimals, which makes all small numbers equal.
    """
    import sympy

    if not (isinstance(one, sympy.Basic | sympy.MatrixBase) and isinstance(other, sympy.Basic | sympy.MatrixBase)):
        return True
    if isinstance(one, sympy.FiniteSet) and isinstance(other, sympy.FiniteSet):
        return len(one) == len(other) and all(any(_same_values(a, b) for b in other) for a in one)
    if isinstance(one, sympy.Expr) and isinstance(other, sympy.Expr):
        return _close(one, other)
    if type(one) is type(other) and len(one.args) == len(other.args):
        return all(_same_values(a, b) for a, b in zip(one.args, other.args, strict=True))
    return True


def _close(one: Any, other: Any) -> bool:
    """Whether two expressions are equal to 12 digits, their symbols replaced by numbers without relations."""
    import sympy

    symbols = sorted(one.free_symbols | other.free_symbols, key=str)
    numbers = {symbol: sympy.Rational(1000 + 37 * place, 701) for place, symbol in enumerate(symbols, start=1)}
    a, b = (sympy.N(value.subs(numbers), 30) for value in (one, other))
    if (
        not (a.is_number and b.is_number)
        or a.has(sympy.nan, sympy.zoo, sympy.oo)
        or b.has(sympy.nan, sympy.zoo, sympy.oo)
    ):
        return True
    size = max(abs(a), abs(b))
    return bool(size == 0 or abs(a - b) <= size * sympy.Float("1e-12"))


if __name__ == "__main__":
    _serve()
