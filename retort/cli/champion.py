"""`retort champion`: which student is in production, and going back to the one before."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from retort.cli import options


def champion(
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Make the champion before this one champion again.")
    ] = False,
    to: options.Registry = None,
    name: Annotated[str, typer.Option(help="Registered model there, which --to needs.")] = "",
    as_json: options.AsJson = False,
) -> None:
    """Show the champion and the decisions that led to it; with --to, whether the registry knows it too."""
    from retort.handover.registry import registry
    from retort.run import champion as library

    root = Path()
    place, model = options.registered(to, name) if to or name else ("", "")
    if rollback:
        now = library.roll_back(root)
        if place:
            registry(place).crown(model, now.run)
        print(f"{now.run} ({now.model}) is champion again. Commit champion.dvc.")
        return
    crowned, history = library.current(root), library.decisions(root)
    there = registry(place).champion(model) if place else None
    here = crowned.run if crowned else None
    if as_json:
        print(json.dumps({"champion": here, "decisions": history} | ({"registry": there} if place else {})))
        return
    print(
        f"champion: {crowned.run} ({crowned.model}), accuracy {crowned.accuracy:.1%}" if crowned else "no champion yet"
    )
    if place:
        print(f"in the registry: {there or 'none'}")
        if there != here:
            print(f"they differ: `retort promote {here or 'RUN'} --to ...` sets the registry's", file=sys.stderr)
    for one in history:
        print(
            f"  {'crowned' if one['promoted'] else 'refused'}  {one['run']:<32} {one['accuracy']:.1%}  {one['reason']}"
        )
