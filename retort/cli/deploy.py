"""`retort deploy RUN`: a KServe InferenceService for a run's student."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from retort.cli import options


def deploy(
    run: options.RunHere = ".",
    uri: options.Uri = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the service and of the model in requests; the run's.")
    ] = None,
    namespace: Annotated[str | None, typer.Option(help="Kubernetes namespace.", show_default=False)] = None,
    gpus: Annotated[int, typer.Option(min=0, help="GPUs a replica; 0 serves on the CPU, without vLLM.")] = 1,
    service_account: Annotated[
        str | None, typer.Option(help="With the credentials of the object store.", show_default=False)
    ] = None,
    max_length: Annotated[
        int | None, typer.Option(min=1, help="Longest prompt and response together; the model's own.")
    ] = None,
    to: Annotated[Path | None, typer.Option(help="File to write; stdout when left out.", show_default=False)] = None,
) -> None:
    """Write a KServe InferenceService that serves a run's student with vLLM; `kubectl apply -f` starts it."""
    import yaml

    from retort.handover.export import exported
    from retort.handover.kserve import manifest
    from retort.handover.student import student_of
    from retort.io.files import write_text
    from retort.run.find import workspace

    student = student_of(workspace(run))
    made = manifest(
        student,
        uri or exported(student),
        name=name,
        namespace=namespace,
        gpus=gpus,
        service_account=service_account,
        max_length=max_length,
    )
    text = yaml.safe_dump(made, sort_keys=False)
    if to is None:
        print(text, end="")
    else:
        write_text(to, text)
        print(f"kubectl apply -f {to}")
