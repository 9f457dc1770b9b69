"""`retort chat RUN`: talk to a run's student, beside the teacher and the base."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from retort.cli import options

if TYPE_CHECKING:
    from retort.handover.chat import Said


def chat(
    run: options.RunHere = ".",
    beside: Annotated[
        str, typer.Option(metavar="MODEL,MODEL", help="Models and students that answer too: teacher,base.")
    ] = "",
    max_new_tokens: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Tokens after which an answer is cut off; left out, those of `evaluate`, at most half the context.",
        ),
    ] = None,
    temperature: Annotated[float, typer.Option(min=0, max=2, help="0 is greedy.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Of answers at a temperature above 0.")] = 0,
    system: Annotated[str | None, typer.Option(help="System prompt.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object an answer.")] = False,
) -> None:
    """Answer each line of stdin; /new begins a new conversation, Ctrl-D ends it."""
    from transformers.utils import logging

    from retort.handover.chat import Settings, converse, speakers
    from retort.handover.student import student_of
    from retort.run.find import workspace

    logging.disable_progress_bar()  # weights are read in a moment, and its bar would stand between two lines
    student = student_of(workspace(run))
    wanted = [student.name, *(name.strip() for name in beside.split(",") if name.strip())]
    settings = Settings(max_new_tokens, temperature, seed, system)
    with speakers(student.root, wanted, settings) as present:
        alone = len(present) == 1
        converse(
            present,
            _lines(),
            lambda said: _show(said, alone=alone, as_json=as_json),
            settings,
            # A person goes on after it; what reads lines from a program is not to miss an answer.
            _refused if sys.stdin.isatty() else None,
        )


def _lines() -> Iterator[str]:
    """Lines of stdin, with a prompt where a person types them."""
    asking = sys.stdin.isatty()
    if asking:
        print("Ctrl-D ends, /new begins anew.", file=sys.stderr)
    while True:
        if asking:
            print("> ", end="", file=sys.stderr, flush=True)
        if not (line := sys.stdin.readline()):
            return
        yield line


def _refused(error: Exception) -> None:
    print(f"retort: {error}, or begin anew with /new.", file=sys.stderr)


def _show(said: Said, *, alone: bool, as_json: bool) -> None:
    from dataclasses import asdict

    if as_json:
        print(json.dumps(asdict(said), ensure_ascii=False), flush=True)
        return
    cut = "" if said.finished else f" [cut off after {said.tokens} tokens]"
    print(f"{'' if alone else f'{said.model}: '}{said.response}{cut}", flush=True)
