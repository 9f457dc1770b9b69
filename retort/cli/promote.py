"""`retort promote`: let a run's student become the champion, if it earns it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retort.cli import options

if TYPE_CHECKING:
    from retort.handover.registry import Registry
    from retort.handover.version import Version


def promote(
    run: options.RunHere = ".",
    benchmark: Annotated[str | None, typer.Option(help="Held-out benchmark that decides; the report's own.")] = None,
    margin: Annotated[float, typer.Option(min=0, max=1, help="Accuracy that being cheaper may cost.")] = 0.01,
    force: Annotated[bool, typer.Option("--force", help="Crown it whatever the comparison says; recorded.")] = False,
    to: options.Registry = None,
    name: Annotated[str, typer.Option(help="Registered model there, which --to needs.")] = "",
    uri: options.Uri = None,
    as_json: options.AsJson = False,
) -> None:
    """Compare a run's student with the champion on held-out items; crown it if better, or as good and cheaper."""
    from retort.run import champion
    from retort.run.find import name_of, workspace

    root, place = Path(), workspace(run)
    called = name_of(place)
    version, registered = _version(place, to, name, uri) if to or name else (None, None)
    if force:
        alone = champion.unopposed(called, place, benchmark=benchmark)
        decision = dataclasses.replace(alone, reason="by --force")
    else:
        decision = champion.judge(root, called, place, benchmark=benchmark, margin=margin)
    champion.crown(root, decision, place, benchmark=benchmark)
    link = None
    if decision.promoted and version is not None and registered is not None:
        link = registered.register(version)
        registered.crown(version.model, version.run)
    if as_json:
        print(json.dumps(dataclasses.asdict(decision) | {"link": link}))
    else:
        won = "is champion" if decision.promoted else "stays challenger"
        print(f"{called} ({decision.model}) {won}: {decision.reason}")
        if decision.promoted:
            print("Recorded in champion.dvc: commit it." + (f"\nIn the registry: {link}" if link else ""))
        elif (root / champion.FILE).exists():
            print("The decision is recorded in champion.dvc.")
    if not decision.promoted:
        raise typer.Exit(1)


def _version(place: Path, to: str | None, name: str, uri: str | None) -> tuple[Version, Registry]:
    """What a registry would be told, and the registry: what cannot be registered is refused before it is crowned."""
    from retort.handover.export import exported
    from retort.handover.registry import registry, version_of
    from retort.handover.student import student_of

    where, model = options.registered(to, name)
    student = student_of(place)
    return version_of(student, model, uri or exported(student)), registry(where)
