"""The side `vllm` of `bench.generate`: a server of the real vLLM, asked in tokens."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.generate import Work


class VLLMSide:
    """A server for the length of a `with` block; it has answered once before anything is measured."""

    def __init__(self, program: str, model: Path, work: Work, new_tokens: int) -> None:
        """Say what to serve.

        Args:
            program: The program `vllm`.
            model: Folder of the model.
            work: What will be asked.
            new_tokens: Tokens after which a response is cut off.
        """
        from retort.config.data import SamplingConfig
        from retort.config.models import VLLMEngineConfig
        from retort.engines.vllm import VLLMEngine
        from retort.modeling.loading import Reference, write_reference

        self._home = TemporaryDirectory()
        folder = Path(self._home.name) / "outputs/models/model"
        write_reference(folder, Reference(str(model.absolute()), dtype="float32"))
        # Of this environment alone the folder of the program: vLLM finds what it starts there.
        environment = {"PATH": f"{Path(program).absolute().parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
        config = VLLMEngineConfig(
            type="vllm",
            program=program,
            concurrency=work.rows,
            args={"enforce_eager": True},
            environment=environment | {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_CPU_KVCACHE_SPACE": "2"},
            start_timeout_s=1800,
        )
        self._sampling = SamplingConfig(temperatures=[1.0], samples=1, max_new_tokens=new_tokens)
        self._engine = VLLMEngine(config, folder, file="bench", logs=Path(self._home.name))

    def __enter__(self) -> VLLMSide:
        """Nothing yet: the first answer starts the server."""
        return self

    def __exit__(self, *error: object) -> None:
        """End it."""
        self._engine.__exit__(None, None, None)
        self._home.cleanup()

    def __call__(self, work: Work, seed: int) -> list[int]:
        """Lengths of its responses."""
        from retort.engines.base import Request

        asked = [
            Request(str(place), text, 0, 1.0, seed * 100_003 + place, form="text")
            for place, text in enumerate(work.texts)
        ]
        found: list[Any] = [one for batch in self._engine.generate(asked, self._sampling) for one in batch]
        return [one.response_tokens for one in found]

    def cpu_s(self) -> float:
        """Processor time of the server and its children so far."""
        session = self._engine.server_session()
        total = 0.0
        for status in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = status.read_text().rpartition(")")[2].split()
            except OSError:  # ended meanwhile
                continue
            if int(fields[3]) == session:
                total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return total
