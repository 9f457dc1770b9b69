"""`retort serve RUN`: serve a run's student with an OpenAI-compatible API."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Literal

import typer

from retort.cli import options


def serve(
    run: options.RunHere = ".",
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8000,
    engine: Annotated[
        Literal["vllm", "transformers"] | None, typer.Option(help="The first of them that is installed.")
    ] = None,
) -> None:
    """Serve a run's student by vLLM where it is installed, else by `transformers serve`, until Ctrl-C."""
    from retort.handover.serve import command, model_name
    from retort.handover.student import student_of
    from retort.run.find import workspace

    student = student_of(workspace(run))
    given = command(student, host=host, port=port, engine=engine)
    print(
        f"{student.label} of {student.run}: http://{host}:{port}/v1, model {model_name(student, given)}",
        file=sys.stderr,
    )
    print(" ".join(given), file=sys.stderr, flush=True)
    os.execv(given[0], given)  # noqa: S606 - a list, no shell; signals then reach the server itself
