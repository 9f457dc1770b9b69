"""The `retort` command: one file a verb; data on stdout, logs and progress on stderr."""

from __future__ import annotations

import importlib
import sys
from importlib.metadata import entry_points
from typing import Annotated

import typer

from retort import __version__
from retort.errors import INTERRUPTED, InterruptionError, RetortError
from retort.io.terminal import level

app = typer.Typer(
    name="retort",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Distil a large language model into a small one by transferring its responses and its rewards.",
)

_HERE = (
    "init",
    "check",
    "run",
    "stage",
    "show",
    "runs",
    "diff",
    "score",
    "vote",
    "judge",
    "compare",
    "plan",
    "graph",
    "doctor",
    "verify",
    "export",
    "serve",
    "chat",
    "deploy",
    "register",
    "promote",
    "champion",
)


def _show_version(asked: bool) -> None:
    if asked:
        print(f"retort {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Distil a large language model into a small one by transferring its responses and its rewards."""


def _add_verbs() -> None:
    """The verbs that need no cluster, then those of other layers and packages, which register themselves."""
    for name in _HERE:
        app.command(name)(getattr(importlib.import_module(f"retort.cli.{name}"), name))
    for entry in sorted(entry_points(group="retort.verbs"), key=lambda entry: entry.name):
        verb = entry.load()
        if isinstance(verb, typer.Typer):
            app.add_typer(verb, name=entry.name)
        else:
            app.command(entry.name)(verb)


_add_verbs()


def main() -> None:
    """Run the command; an error that a user can mend is one message and a stable exit code."""
    try:
        app()
    except RetortError as error:
        if isinstance(error, InterruptionError) and error.exit_code == INTERRUPTED and level() != "verbose":
            sys.exit(error.exit_code)  # `retort run`, which started this, says what is kept
        print(f"retort: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
