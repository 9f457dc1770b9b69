"""Serving a run's student with an OpenAI-compatible API: vLLM where it is installed, else `transformers serve`."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

from retort.errors import MissingToolError
from retort.handover.student import Student


def command(student: Student, *, host: str, port: int, engine: str | None = None) -> list[str]:
    """The command that serves a student under the name of its run.

    Args:
        student: The student.
        host: Address that is listened on.
        port: Port that is listened on.
        engine: `vllm` or `transformers`; the first of them that is installed when left out.

    Raises:
        MissingToolError: neither is installed, or not the one that is wanted.
    """
    folder = str(student.folder.resolve())
    bound = ["--host", host, "--port", str(port)]
    if engine in (None, "vllm") and (vllm := _program("vllm")):
        # Its sampling defaults would be the model's generation configuration: what is asked for is what is done.
        return [vllm, "serve", folder, "--served-model-name", student.run, "--generation-config", "vllm", *bound]
    if engine in (None, "transformers") and importlib.util.find_spec("uvicorn") and (tool := _program("transformers")):
        return [tool, "serve", folder, *bound]
    wanted = engine or "vLLM nor transformers' server"
    raise MissingToolError(
        f"{wanted} is not installed here: pip install vllm where a GPU is, or pip install 'transformers[serving]'. "
        "Neither is needed to talk to the student in this terminal: retort chat."
    )


def model_name(student: Student, served_by: list[str]) -> str:
    """What requests call the served model: vLLM takes a name, `transformers serve` its folder."""
    return student.run if "--served-model-name" in served_by else str(student.folder.resolve())


def _program(name: str) -> str | None:
    """A command of this installation, also where its environment was not activated."""
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.exists() else shutil.which(name)
