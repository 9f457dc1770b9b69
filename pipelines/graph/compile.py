"""Compiling the pipeline, and the arguments with which a configuration is run."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from retort_pipelines.graph.distil import NAME, build
from retort_pipelines.graph.offered import offered
from retort_pipelines.profiles import Profile

from retort.config import RetortConfig, resolved
from retort.pod.kept_settings import keep
from retort.pod.settings import CONFIGURATION, parameter_of, settings
from retort.run.dvc_adapter import Entry
from retort.run.tasks import graph


def compile(  # noqa: A001
    config: RetortConfig,
    profile: Profile,
    path: Path,
    *,
    forced: Collection[str] = (),
    root: Path = Path(),
    run: str = NAME,
    defaults: Mapping[str, Any] | None = None,
) -> None:
    """Write the pipeline of `config` under `profile` to `path` as YAML for Kubeflow; `forced` tasks run anyway.

    With `defaults`, the arguments of a run, it can be started in Kubeflow's interface as it is.
    """
    from kfp import compiler

    made = build(config, profile, forced=forced, root=root, run=run, defaults=defaults)
    compiler.Compiler().compile(made, str(path))


def arguments(
    config: RetortConfig, *, remote: str, files: Mapping[str, Entry], root: Path = Path(), generation: int = 0
) -> dict[str, Any]:
    """Arguments of a run of `config`; the settings of its tasks, whose addresses they hold, are in the store then.

    Args:
        config: The run's configuration.
        remote: Folder or address of the object store, as tasks reach it.
        files: DVC's entries of the run's source files, which must be in that store (`retort.run.dvc_adapter.store`).
        root: Folder that the configuration's paths start from.
        generation: How often that store was collected (`retort gc`).

    Raises:
        StorageError: the store does not take the settings.
    """
    made = graph(config, root)
    given: dict[str, Any] = {
        parameter_of(name): keep(settings(config, tasks, files, remote=remote, generation=generation))
        for name, tasks in made.groups.items()
    }
    given |= {one.name: one.default for one in offered(config, made, root).parameters}
    return given | {CONFIGURATION: json.dumps({"config": resolved(config), "remote": remote})}
