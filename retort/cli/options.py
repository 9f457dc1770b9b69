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
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


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
