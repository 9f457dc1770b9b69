"""The `retort` command: one file a verb; data on stdout, logs and progress on stderr."""

from __future__ import annotations

import importlib
import sys

import typer

from retort.errors import RetortError

app = typer.Typer(
    name="retort",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Distil a large language model into a small one by transferring its responses and its rewards.",
)

_HERE = ("run", "stage", "report", "score", "vote", "judge", "compare", "plan", "doctor", "promote", "champion")
_ON_A_CLUSTER = ("compile", "submit", "status", "logs", "cancel", "rerun", "pull")
for _verb in (*_HERE, *_ON_A_CLUSTER):
    app.command(_verb)(getattr(importlib.import_module(f"retort.cli.{_verb}"), _verb))
app.add_typer(importlib.import_module("retort.cli.schedule").schedule, name="schedule")


def main() -> None:
    """Run the command; an error that a user can mend is one message and a stable exit code."""
    try:
        app()
    except RetortError as error:
        print(f"retort: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
