"""Compiling the pipeline, and the arguments with which a configuration is run."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path

from retort_pipelines.graph.distil import CONFIGURATION, NAME, build, parameter_of
from retort_pipelines.profiles import Profile

from retort.config import RetortConfig, resolved
from retort.pod.settings import settings
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
) -> None:
    """Write the pipeline of `config` under `profile` to `path` as YAML for Kubeflow; `forced` tasks run anyway."""
    from kfp import compiler

    compiler.Compiler().compile(build(config, profile, forced=forced, root=root, run=run), str(path))


def arguments(
    config: RetortConfig, *, remote: str, files: Mapping[str, Entry], root: Path = Path(), generation: int = 0
) -> dict[str, str]:
    """Arguments of a run of `config`.

    Args:
        config: The run's configuration.
        remote: Folder or address of the object store, as tasks reach it.
        files: DVC's entries of the run's source files, which must be in that store (`retort.run.dvc_adapter.store`).
        root: Folder that the configuration's paths start from.
        generation: How often that store was collected (`retort gc`).
    """
    given = {
        parameter_of(name): settings(config, tasks, files, remote=remote, generation=generation).to_json()
        for name, tasks in graph(config, root).groups.items()
    }
    return given | {CONFIGURATION: json.dumps({"config": resolved(config), "remote": remote})}
