"""Options that several verbs of the cluster share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Config = Annotated[Path, typer.Option(help="Configuration.")]
Profile = Annotated[
    str, typer.Option(envvar="RETORT_PROFILE", help="Where stages go: a name of pipelines/profiles, or a YAML file.")
]
Host = Annotated[
    str | None, typer.Option(envvar="RETORT_KFP_HOST", help="Address of Kubeflow Pipelines.", show_default=False)
]
Remote = Annotated[
    str | None, typer.Option(envvar="RETORT_REMOTE", help="Object store, s3://BUCKET/FOLDER.", show_default=False)
]
Run = Annotated[str, typer.Argument(help="Name or id of a run.")]
Changes = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a value of --config; repeatable.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
