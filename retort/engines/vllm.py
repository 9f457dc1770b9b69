"""The `vllm` engine: `vllm serve` on this machine's GPUs for the length of a stage, asked like any endpoint."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import IO, Self

from retort.config.endpoint import EndpointConfig
from retort.config.models import VLLMEngineConfig
from retort.engines.endpoint import EndpointEngine
from retort.errors import EngineError, MissingToolError
from retort.plugins import EngineContext, EngineType

_PATIENCE_S = 15.0
"""Time that the server has to end by itself."""

_PR_SET_PDEATHSIG = 1
"""From linux/prctl.h: the signal that the kernel sends when the parent dies."""

_NAME = "model"
"""Name that the server gives the model: paths and hub ids stay out of requests."""


class VLLMEngine(EndpointEngine):
    """Starts a server when entered and always ends it, with its children, when left."""

    def __init__(
        self,
        config: VLLMEngineConfig,
        folder: Path,
        *,
        place: str = "models.teacher.engine",
        command: tuple[str, ...] = ("vllm", "serve"),
    ) -> None:
        """Say what to serve; nothing is started yet.

        Args:
            config: Settings of the server.
            folder: Folder of the model or of its reference, `outputs/models/teacher`.
            place: Where the configuration describes it, for messages.
            command: Program that serves; its arguments are vLLM's.
        """
        from retort.modeling.loading import read_reference  # torch is not for whoever reads a configuration

        self._config, self._folder, self._command = config, folder, command
        self._port = _free_port()
        self._server: subprocess.Popen[bytes] | None = None
        self._files = contextlib.ExitStack()
        self._output: IO[bytes] | None = None
        super().__init__(
            EndpointConfig(
                base_url=f"http://127.0.0.1:{self._port}/v1",
                model=_NAME,
                api_key_env=None,
                concurrency=config.concurrency,
                probe=False,  # the server, and what it is told, are our own
            ),
            place=place,
            name=read_reference(folder).model,
        )

    def __enter__(self) -> Self:
        """Start the server and wait until it answers.

        Raises:
            MissingToolError: vLLM is not installed.
            EngineError: it ended, or did not answer in time; says what it printed last.
        """
        if shutil.which(self._command[0]) is None:
            raise MissingToolError(
                f"{self._command[0]}: is not installed. Install vLLM where a GPU is (pip install vllm), use the image "
                f"`generate`, or set {self._place}.type to transformers or openai."
            )
        libc = ctypes.CDLL(None)
        try:
            self._output = self._files.enter_context(TemporaryFile())
            self._server = subprocess.Popen(
                [*self._command, *self.arguments()],
                stdout=self._output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # A killed stage runs no `finally`: the kernel ends the server for it.
                preexec_fn=lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM),  # noqa: PLW1509 - no thread is started yet
            )
            self._wait()
            return super().__enter__()
        except BaseException:
            self._end()
            raise

    def arguments(self) -> list[str]:
        """Command-line arguments of the server."""
        from retort.modeling.loading import model_source, read_reference

        reference = read_reference(self._folder)
        flags = {
            "--host": "127.0.0.1",
            "--port": self._port,
            "--served-model-name": _NAME,
            "--dtype": reference.dtype,
            "--tensor-parallel-size": self._config.tensor_parallel,
            "--gpu-memory-utilization": self._config.gpu_memory_utilization,
            "--max-num-seqs": self._config.concurrency,
            # Not the model's own sampling defaults (top-k, repetition penalty): only what the run says.
            "--generation-config": "vllm",
        }
        if reference.revision is not None:
            flags |= {"--revision": reference.revision, "--tokenizer-revision": reference.revision}
        return [model_source(self._folder, reference), *(str(part) for pair in flags.items() for part in pair)]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections and end the server."""
        try:
            super().__exit__(kind, error, trace)
        finally:
            self._end()

    def _wait(self) -> None:
        assert self._server is not None, "called after the server was started"
        deadline = time.monotonic() + self._config.start_timeout_s
        while time.monotonic() < deadline:
            if (code := self._server.poll()) is not None:
                raise EngineError(
                    f"vLLM ended with exit code {code} before it answered. Its last words:\n{self._tail()}"
                )
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/health", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.5)
        raise EngineError(
            f"vLLM did not answer within {self._config.start_timeout_s:.0f} s. Raise {self._place}.start_timeout_s "
            f"(a first start downloads the weights), or see its last words:\n{self._tail()}"
        )

    def _tail(self) -> str:
        assert self._output is not None, "called after the server was started"
        self._output.seek(0)
        return self._output.read().decode(errors="replace")[-2000:]

    def _end(self) -> None:
        if self._server is not None:
            # The session, not the process alone: a worker that is left would keep the GPU's memory.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._server.pid, signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._server.wait(_PATIENCE_S)
                os.killpg(self._server.pid, signal.SIGKILL)
            self._server.wait()
        self._files.close()
        self._server = self._output = None


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
    return port


def _make(context: EngineContext) -> VLLMEngine:
    return VLLMEngine(context.settings, context.folder, place=context.place)


ENGINE = EngineType("vllm", VLLMEngineConfig, _make)
