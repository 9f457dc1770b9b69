"""Compiling the pipeline, and the arguments with which a configuration is run."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from retort_pipelines.graph.distil import build
from retort_pipelines.profiles import Profile

from retort.config import RetortConfig
from retort.pod.task import settings
from retort.run.dvc_adapter import Entry
from retort.run.graph import STAGES


def compile(config: RetortConfig, profile: Profile, path: Path, *, forced: Collection[str] = ()) -> None:  # noqa: A001
    """Write the pipeline of `config` under `profile` to `path` as YAML for Kubeflow; `forced` stages run anyway."""
    from kfp import compiler

    compiler.Compiler().compile(build(config, profile, forced=forced), str(path))


def arguments(config: RetortConfig, *, remote: str, files: Mapping[str, Entry], root: Path = Path()) -> dict[str, str]:
    """Arguments of a run of `config`.

    Args:
        config: The run's configuration.
        remote: Folder or address of the object store, as tasks reach it.
        files: DVC's entries of the run's source files, which must be in that store (`retort.run.dvc_adapter.store`).
        root: Folder that the configuration's paths start from.
    """
    return {f"{stage.name}_settings": settings(config, stage, files, remote=remote, root=root) for stage in STAGES}
