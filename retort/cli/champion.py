"""`retort champion`: which student is in production, and going back to the one before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from retort.cli import options


def champion(
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Make the champion before this one champion again.")
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Show the champion and the decisions that led to it."""
    from retort.run import champion as library

    root = Path()
    if rollback:
        now = library.roll_back(root)
        print(f"{now.run} ({now.model}) is champion again. Commit champion.dvc.")
        return
    crowned, history = library.current(root), library.decisions(root)
    if as_json:
        print(json.dumps({"champion": crowned.run if crowned else None, "decisions": history}))
        return
    print(
        f"champion: {crowned.run} ({crowned.model}), accuracy {crowned.accuracy:.1%}" if crowned else "no champion yet"
    )
    for one in history:
        print(
            f"  {'crowned' if one['promoted'] else 'refused'}  {one['run']:<32} {one['accuracy']:.1%}  {one['reason']}"
        )
