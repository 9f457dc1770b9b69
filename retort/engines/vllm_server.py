"""The life of one `vllm serve`: started, waited for, watched while it is asked, and ended with its children.

It listens on a Unix socket in a folder of its own: no other server can answer in its place, no proxy stands between.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir, mkdtemp
from typing import IO, Any

from retort.errors import EngineError, MissingToolError

_log = logging.getLogger(__name__)

ADDRESS = "http://vllm"
"""What requests name; where they go is the socket."""

_PATIENCE_S = 15.0
"""Time that the server has to end by itself."""
_PR_SET_PDEATHSIG = 1
"""From linux/prctl.h: the signal that the kernel sends when the parent dies."""
_LONGEST_SOCKET = 90
"""Characters of a socket's path; Linux takes 107."""
_SHOWN = 3000
"""Characters of the server's last words that an error shows."""
_DONE = re.compile(r"^vllm:(?:prompt|generation)_tokens_total(?:\{[^}]*\})? ([0-9.e+]+)$", re.MULTILINE)
"""Counters of what the server has read and written."""


@dataclass(frozen=True)
class Serving:
    """What is served, and how long the server may take."""

    arguments: Sequence[str]
    """Of `vllm serve`, the socket's apart."""
    environment: Mapping[str, str]
    """Variables beside those of this process."""
    start_timeout_s: float
    place: str
    """Where the configuration describes it, for messages: `models.teacher.engine`."""


class Server:
    """A server under `program serve`."""

    def __init__(self, program: Sequence[str], serving: Serving, log: Path) -> None:
        """Say what to start.

        Args:
            program: The program and its first arguments, `("vllm", "serve")`.
            serving: What it is told.
            log: File that what it prints is added to.
        """
        self._program, self._serving, self.log = list(program), serving, log
        self._server: subprocess.Popen[bytes] | None = None
        self._folder: str | None = None
        self._output: IO[bytes] | None = None
        self._begun = 0

    @property
    def socket(self) -> str:
        """Path that it listens at."""
        assert self._folder is not None, "called after the server was started"
        return f"{self._folder}/socket"

    @property
    def session(self) -> int:
        """Session of its processes."""
        assert self._server is not None, "called after the server was started"
        return self._server.pid

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            MissingToolError: vLLM is not installed.
            EngineError: it ended, or did not answer in time; says what it printed last.
        """
        if shutil.which(self._program[0]) is None:
            raise MissingToolError(
                f"{self._program[0]}: is not installed. Install vLLM where a GPU is (pip install vllm), use the image "
                f"`generate`, or set {self._serving.place}.type to transformers or openai."
            )
        libc = ctypes.CDLL(None)
        temporary = gettempdir() if len(gettempdir()) < _LONGEST_SOCKET - 30 else "/tmp"  # noqa: S108
        try:
            self._folder = mkdtemp(prefix="retort-vllm-", dir=temporary)
            self.log.parent.mkdir(parents=True, exist_ok=True)
            self._output = self.log.open("ab")
            self._begun = self._output.tell()
            self._server = subprocess.Popen(
                [*self._program, *self._serving.arguments, "--uds", self.socket],
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self._serving.environment},
                start_new_session=True,
                # A killed stage runs no `finally`: the kernel ends the server for it.
                preexec_fn=lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM),  # noqa: PLW1509 - no thread is started yet
            )
            _log.info("vLLM starts; what it prints is in %s", self.log)
            self._wait()
        except BaseException:
            self.end()
            raise

    def check(self) -> None:
        """See that it runs.

        Raises:
            EngineError: it ended; says what it printed last.
        """
        assert self._server is not None, "called after the server was started"
        if (code := self._server.poll()) is not None:
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            raise EngineError(f"vLLM ended with {how}. Its last words (all of them: {self.log}):\n{self.last_words()}")

    def tokens(self) -> float:
        """Tokens that it has read and written so far, by its own counters; 0 where it shows none."""
        with self._client(timeout=30.0) as client:
            return sum(float(count) for count in _DONE.findall(client.get("/metrics").text))

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """One small request and its answer, outside what is generated.

        Raises:
            EngineError: it refuses, or ended; says what it printed last.
        """
        import httpx2

        try:
            with self._client(timeout=600.0) as client:
                answer = client.get(path) if body is None else client.post(path, json=body)
        except httpx2.HTTPError as error:
            # A server that dies takes a while: its own last words say more than a lost connection.
            deadline = time.monotonic() + _PATIENCE_S
            while time.monotonic() < deadline:
                self.check()
                time.sleep(0.2)
            raise EngineError(
                f"vLLM runs but does not answer {path} ({type(error).__name__} {error}). Its last words (all of them: "
                f"{self.log}):\n{self.last_words()}"
            ) from error
        if answer.status_code != 200:
            raise EngineError(f"vLLM answers {path} with status {answer.status_code}: {answer.text[:_SHOWN]}")
        with contextlib.suppress(json.JSONDecodeError):
            return answer.json()
        return answer.text

    def last_words(self) -> str:
        """The end of what it has printed since it was started."""
        with self.log.open("rb") as stream:
            stream.seek(self._begun)
            return stream.read().decode(errors="replace")[-_SHOWN:]

    def end(self) -> None:
        """End it with its children."""
        if self._server is not None:
            # The session, not the process alone: a worker that is left would keep the GPU's memory.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._server.pid, signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._server.wait(_PATIENCE_S)
                os.killpg(self._server.pid, signal.SIGKILL)
            self._server.wait()
        if self._output is not None:
            self._output.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._server = self._output = self._folder = None

    def _client(self, *, timeout: float) -> Any:
        import httpx2

        # `trust_env` would take proxies from the environment, whatever the transport.
        transport = httpx2.HTTPTransport(uds=self.socket)
        return httpx2.Client(transport=transport, base_url=ADDRESS, timeout=timeout, trust_env=False)

    def _wait(self) -> None:
        import httpx2

        deadline = time.monotonic() + self._serving.start_timeout_s
        while time.monotonic() < deadline:
            self.check()
            with contextlib.suppress(httpx2.HTTPError), self._client(timeout=5.0) as client:
                if client.get("/health").status_code == 200:
                    return
            time.sleep(0.2)
        raise EngineError(
            f"vLLM did not answer within {self._serving.start_timeout_s:.0f} s. Raise "
            f"{self._serving.place}.start_timeout_s (a first start downloads the weights), or see its last words (all "
            f"of them: {self.log}):\n{self.last_words()}"
        )
