"""`retort register RUN`: make a run's student a version in a model registry."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from retort.cli import options


def register(
    run: options.RunHere = ".",
    to: options.Registry = None,
    name: Annotated[str, typer.Option(help="Registered model, the same for all its versions.")] = "",
    uri: options.Uri = None,
    as_json: options.AsJson = False,
) -> None:
    """Register a run's student with its figures and lineage in Kubeflow's or MLflow's model registry."""
    from retort.handover.export import exported
    from retort.handover.registry import registry, version_of
    from retort.handover.student import student_of
    from retort.run.find import workspace

    student, (place, model) = student_of(workspace(run)), options.registered(to, name)
    link = registry(place).register(version_of(student, model, uri or exported(student)))
    print(
        json.dumps({"run": student.run, "model": model, "link": link}) if as_json else f"{model}, {student.run}: {link}"
    )
