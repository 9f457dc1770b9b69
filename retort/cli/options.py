"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from retort.benchmarks.own import OwnTask

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
RunHere = Annotated[
    str, typer.Argument(metavar="RUN", help="Name of a run under runs/, or its folder; `.` is this folder's own.")
]
Changes = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a value of --config; repeatable.")
]
RequireBetter = Annotated[
    bool,
    typer.Option(
        "--require-better",
        help="Exit with 70 where the result is not shown to be better than its base, or the report raises an alarm.",
    ),
]
Uri = Annotated[
    str | None,
    typer.Option(help="Where the student was exported to; as `retort export` left it.", show_default=False),
]
Registry = Annotated[
    str | None,
    typer.Option(
        metavar="KIND:ADDRESS",
        envvar="RETORT_REGISTRY",
        help="kubeflow:http://... or mlflow:http://... ; a token is taken from RETORT_REGISTRY_TOKEN.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def registered(place: str | None, name: str) -> tuple[str, str]:
    """A registry and the name of a model in it, both given.

    Raises:
        ConfigError: one of them is not.
    """
    from retort.errors import ConfigError

    if not place:
        raise ConfigError(
            "no registry is named. Set RETORT_REGISTRY, or give --to kubeflow:http://... or mlflow:http://..."
        )
    if not name:
        raise ConfigError(
            "no model is named. Give --name NAME: what the registry calls the model of which this is a version."
        )
    return place, name


def own_task_of(task: str, config: Path | None) -> OwnTask | None:
    """What `--config` says about one's own prompts; None for a benchmark.

    Raises:
        ConfigError: the task is `own` without a configuration, or a benchmark with one.
    """
    from retort.benchmarks.own import own_task
    from retort.errors import ConfigError

    if (task == "own") != (config is not None):
        raise ConfigError(f"{task}: give --config CONFIG with the task `own`, and with no other")
    return own_task(config) if config is not None else None
