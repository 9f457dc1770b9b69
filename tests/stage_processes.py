"""Running stages in processes of their own that can be killed: the client of `tests/stage_server.py`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self


@dataclass(frozen=True)
class Ran:
    """How a stage ended."""

    killed: bool
    calls: int
    """Functions that were called, of those where it could be killed."""
    work: int
    """Pieces of work that were begun: steps, iterations, batches."""
    error: str = ""
    """What the error of Retort's says that it ended with."""
    code: int = 0
    """Its exit code."""


class StageProcesses:
    """A server of stages, as long as it is entered."""

    def __enter__(self) -> Self:
        # Not a fork of this process: a forked copy of one that has run torch hangs on locks of threads that it has not.
        self._said = tempfile.TemporaryFile()
        self._server = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("stage_server.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait(timeout=60)
        self._said.close()

    def run(
        self, stage: str, values: Mapping[str, str], root: Path, *, kill_at: int = 0, may_fail: bool = False
    ) -> Ran:
        """Run a stage, killed at its N-th counted call if N > 0, if it comes that far.

        With `may_fail` one of Retort's errors may end it; a traceback never may.
        """
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        job = {"stage": stage, "values": dict(values), "root": str(root), "kill_at": kill_at}
        self._server.stdin.write(json.dumps(job) + "\n")
        self._server.stdin.flush()
        answer = json.loads(self._server.stdout.readline())
        explained = may_fail and bool(answer["error"])
        good = answer["ended"] in ((0, -signal.SIGKILL) if kill_at else (0,))
        assert good or explained, f"{stage}: {answer}\n{self._tail()}"
        return Ran(answer["ended"] < 0, answer["calls"], answer["work"], answer["error"], answer["ended"])

    def _tail(self) -> str:
        """The end of what the stages said."""
        self._said.seek(0, os.SEEK_END)
        self._said.seek(max(0, self._said.tell() - 3000))
        return self._said.read().decode(errors="replace")
