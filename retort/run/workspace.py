"""Workspaces: folders that hold a run as DVC sees it (`params.yaml`, `dvc.yaml`, `dvc.lock`, outputs).

The checkout is one; `retort run --config FILE` makes others under `runs/`, and every pod has a small one of its
own. In all of them the same stage has the same command, parameters and relative paths, so that their lock entries
can be compared and merged.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from retort import plugins
from retort.config import RetortConfig, load_config, resolved
from retort.config.load import read_yaml
from retort.errors import ConfigError, InputError
from retort.evaluation.tasks import check_task
from retort.io.files import atomic_path, write_text
from retort.run import dvc_adapter
from retort.run.embedded import embedded, exists, is_embedded
from retort.run.graph import Graph, Task
from retort.run.paths import CODE
from retort.run.tasks import graph

_PARAMS_HEADER = """\
# The parameters of `dvc repro` in this folder, every value written out so that DVC can compare it: change them here.
# Made by `retort graph --write --config {config}`; what the fields mean: docs/reference/configuration.md.
"""
_HEADER = "# Made by `retort run` from params.yaml (retort/run/tasks.py); a test keeps it so. Do not edit.\n"
_CODE_HEADER = "# Hashes of the code that makes each task, made by `retort run` with dvc.yaml. Do not edit.\n"


def dvc_yaml(made: Graph, *, in_git: bool = True) -> str:
    """A graph as the text of a `dvc.yaml`.

    Args:
        made: The graph.
        in_git: Keep metrics in git (`cache: false`) rather than in the object store.
    """
    stages = {task.address: stage_yaml(task, in_git=in_git) for task in made}
    # DVCLive writes one table a figure: each becomes a plot with the step on its horizontal axis.
    plots = [{f"{folder}/plots/metrics": {"x": "step"}} for task in made for folder in task.plots]
    return _HEADER + _dump({"stages": stages, "plots": plots})


def code_yaml(made: Iterable[Task]) -> str:
    """Hashes of the code of each task as the text of a `code.yaml`, on which the tasks of `dvc.yaml` depend.

    Code enters a run by its hash: where Retort is installed and what else lies beside a project decides nothing.
    """
    return _CODE_HEADER + _dump({task.address: task.code() for task in made})


def stage_yaml(task: Task, *, in_git: bool) -> dict[str, Any]:
    """One task as a stage of `dvc.yaml`.

    To DVC only the run's summary is metrics: all figures of all tasks would be hundreds of columns.
    """

    def kept(path: str) -> str | dict[str, Any]:
        return {path: {"cache": False}} if in_git else path

    parts: dict[str, Any] = {
        "cmd": task.command,
        "deps": sorted({*task.deps, *task.sources}),
        "params": [*sorted(task.params), {CODE: [task.address]}],
        "outs": [*task.outs, *task.plots, *(kept(path) for path in task.metrics)],
        "metrics": [kept(path) for path in task.summary],
    }
    return {key: value for key, value in parts.items() if value}


def task_yaml(task: Task) -> str:
    """A `dvc.yaml` with one task alone, for a pod."""
    return _dump({"stages": {task.address: stage_yaml(task, in_git=False)}})


def _dump(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, width=120, allow_unicode=True)


def refresh(root: Path) -> RetortConfig:
    """Bring the `dvc.yaml` and `code.yaml` of a workspace in line with its `params.yaml`, and check its source files.

    Raises:
        ConfigError: there is no params.yaml, it is wrong, or it leaves defaults unsaid.
        InputError: a source file does not exist.
    """
    config = load_config(root / "params.yaml", root=root)
    values = read_yaml(root / "params.yaml")
    if unsaid := sorted(set(resolved(config)) - set(values)):
        raise ConfigError(
            f"{root / 'params.yaml'}: lacks {', '.join(unsaid)}. DVC compares what is written there, so it must hold "
            "every section: `retort graph --write --config demo` writes the embedded default out in full."
        )
    made = graph(config, root)
    check_sources(config, made, root)
    for name in made.sources:
        if not (root / name).exists():  # comes with Retort: a project gets a copy, which it can version and change
            _copy(embedded(name), root / name)
    _write(root, made, in_git=not _made_by_retort(root))
    return config


def create(root: Path, config: RetortConfig, *, home: Path, remote: str, cache: Path) -> None:
    """Make or update the workspace `root` for `config`.

    Args:
        root: The workspace.
        config: What it runs; written out in full, so that a changed default counts as a change.
        home: Folder that the configuration's paths start from.
        remote: Folder or address of the object store.
        cache: Content cache, shared by the workspaces of `home`.

    Raises:
        InputError: a source file does not exist.
        ConfigError: a source file lies outside `home`.
    """
    made = graph(config, home)
    check_sources(config, made, home)
    for name in outside_sources(made):
        raise ConfigError(outside_words(name, home))
    dvc_adapter.init(root, remote=remote, cache=cache)
    for name in made.sources:
        link(root / name, embedded(name) if is_embedded(name, home) else home / name)
    write_text(root / "params.yaml", _dump(resolved(config)))
    _write(root, made, in_git=False)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(target) as temporary:
        shutil.copytree(source, temporary) if source.is_dir() else shutil.copyfile(source, temporary)


def _write(root: Path, made: Graph, *, in_git: bool) -> None:
    """Write dvc.yaml and code.yaml where they differ from what they should be."""
    for name, text in (("dvc.yaml", dvc_yaml(made, in_git=in_git)), (CODE, code_yaml(made))):
        file = root / name
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            write_text(file, text)


def adopt(config: Path, root: Path = Path()) -> None:
    """Make a project's own `params.yaml`, `dvc.yaml` and `code.yaml` from the configuration `config`."""
    loaded = load_config(config, root=root)
    write_text(root / "params.yaml", _PARAMS_HEADER.format(config=config.as_posix()) + _dump(resolved(loaded)))
    refresh(root)


def link(place: Path, target: Path) -> None:
    """Make `place` a symbolic link to `target`, replacing a link that points elsewhere."""
    target = target.resolve()
    if place.is_symlink():
        if place.resolve() == target:
            return
        place.unlink()
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(os.path.relpath(target, place.parent.resolve()), target_is_directory=target.is_dir())


def check_sources(config: RetortConfig, made: Graph, root: Path) -> None:
    """Refuse a configuration that names a source file or a benchmark which does not exist.

    Raises:
        InputError: naming the file.
        ConfigError: naming the benchmark's task, and the nearest ones.
    """
    for name, stage in missing_sources(made, root).items():
        raise InputError(
            f"does not exist, but stage {stage} reads it",
            file=root / name,
            remedy="Correct the path in the configuration, or run from the folder that its paths start from",
        )
    check_benchmarks(config)


def missing_sources(made: Graph, root: Path) -> dict[str, str]:
    """Source files that do not exist, each with the name of a stage that reads it."""
    return {name: task.stage.name for task in made for name in task.sources if not exists(name, root)}


def outside_sources(made: Graph) -> list[str]:
    """Source files that are named by a path which leads out of the project."""
    return [name for name in made.sources if Path(name).is_absolute() or ".." in Path(name).parts]


def outside_words(name: str, home: Path) -> str:
    """What to do about a source file that is named by a path which leads out of the project."""
    place = Path(os.path.normpath(home.resolve() / name))
    if place.is_relative_to(home.resolve()):
        return f"{name}: name it by its path from {home.resolve()}, {place.relative_to(home.resolve())}."
    return (
        f"{name}: lies outside {home.resolve()}, so no other machine could find it. Copy or link it there, and "
        "name it by its path from there."
    )


def check_benchmarks(config: RetortConfig) -> None:
    """Refuse a benchmark whose task nobody has: the stage that would find out comes last.

    Raises:
        ConfigError: naming the task, and the nearest ones.
    """
    for benchmark in config.evaluate.benchmarks:
        own = benchmark.task in plugins.names("benchmark") or plugins.is_path(benchmark.task)
        if benchmark.task != "heldout" and not own:
            check_task(benchmark.task)


def _made_by_retort(root: Path) -> bool:
    config = root / ".dvc/config"
    return config.exists() and "no_scm = true" in config.read_text(encoding="utf-8")
