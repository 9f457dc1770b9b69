"""`retort export RUN --to PLACE`: hand a run's student over."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from retort.cli import options


def export(
    run: options.RunHere = ".",
    to: Annotated[
        str, typer.Option(help="A folder, s3://BUCKET/FOLDER, or hub:OWNER/NAME of a Hugging Face hub (HF_ENDPOINT).")
    ] = "",
    public: Annotated[bool, typer.Option("--public", help="Make a new hub repository public.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Copy a run's student, tokenizer and model card to a folder, an object store or a hub."""
    from retort.errors import ConfigError
    from retort.handover.export import export as library
    from retort.handover.student import student_of
    from retort.run.find import workspace

    if not to:
        raise ConfigError("say where to: --to FOLDER, --to s3://BUCKET/FOLDER or --to hub:OWNER/NAME.")
    student = student_of(workspace(run))
    place = library(student, to, private=not public)
    if as_json:
        print(json.dumps({"run": student.run, "student": student.name, "place": place}))
    else:
        print(f"{student.label} of {student.run}: {place}")
