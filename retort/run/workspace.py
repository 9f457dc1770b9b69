"""Workspaces: folders that hold a run as DVC sees it (`params.yaml`, `dvc.yaml`, `dvc.lock`, outputs).

The checkout is one; `retort run --config FILE` makes others under `runs/`, and every pod has a small one of its
own. In all of them the same stage has the same command, parameters and relative paths, so that their lock entries
can be compared and merged.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from retort.config import RetortConfig, load_config, resolved
from retort.errors import ConfigError, InputError
from retort.evaluation.tasks import check_task
from retort.io.files import write_text
from retort.run import dvc_adapter
from retort.run.code_hash import PACKAGE
from retort.run.graph import STAGES, Stage, Task, expand, matrix_values, source_files

_PARAMS_HEADER = """\
# The parameters of `dvc repro` in this checkout, every value written out so that DVC can compare it: change them here.
# Made by `python -m retort.run.workspace {config}`; what the fields mean: docs/reference/configuration.md.
"""
_HEADER = "# Made by `retort run` from retort/run/graph.py and params.yaml; a test keeps it so. Do not edit.\n"


def dvc_yaml(config: RetortConfig, *, root: Path = Path(), in_git: bool = True) -> str:
    """The graph under `config` as the text of a `dvc.yaml`.

    Args:
        config: What is run.
        root: The workspace, in which source files are looked up.
        in_git: Keep metrics in git (`cache: false`) rather than in the object store.
    """
    stages = {stage.name: _templated(config, stage, root, in_git) for stage in STAGES}
    # DVCLive writes one table a figure: each becomes a plot with the step on its horizontal axis.
    plots = [{f"{folder}/plots/metrics": {"x": "step"}} for stage in STAGES for folder in stage.plots]
    return _HEADER + _dump({"stages": stages, "plots": plots})


def task_yaml(config: RetortConfig, task: Task, sources: Sequence[str]) -> str:
    """A `dvc.yaml` with one task alone, for a pod; `config` holds only what the stage declares."""
    values = {key: [value] for key, value in task.values.items()}
    stage = _plain(config, task.stage, sources, in_git=False)
    return _dump({"stages": {task.stage.name: _split(task.stage, stage, values)}})


def _templated(config: RetortConfig, stage: Stage, root: Path, in_git: bool) -> dict[str, Any]:
    plain = _plain(config, stage, source_files(config, stage, root), in_git=in_git)
    # Interpolated where params.yaml has the very list, so that it can be seen to be one thing.
    values: dict[str, Any] = dict(matrix_values(config, stage))
    if "shard" in values:
        values["shard"] = f"${{{stage.name}.shards}}"
    if "model" in values:
        values["model"] = "${evaluate.models}"
    return _split(stage, plain, values)


def _plain(config: RetortConfig, stage: Stage, sources: Sequence[str], *, in_git: bool) -> dict[str, Any]:
    needs = [path for pattern in stage.deps for path in expand(config, stage, pattern)]
    parts: dict[str, Any] = {
        "cmd": Task(stage, {key: "{" + key + "}" for key in stage.matrix}).command,
        "deps": sorted({*needs, *sources, *stage.code()}),
        "params": sorted(stage.params),
        "outs": [*stage.outs, *stage.plots],
        "metrics": [{path: {"cache": False}} if in_git else path for path in stage.metrics],
    }
    return {key: value for key, value in parts.items() if value}


def _split(stage: Stage, plain: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """`plain` as DVC's foreach or matrix over `values`."""
    if not stage.matrix:
        return plain
    single = len(stage.matrix) == 1
    names = {key: "${item}" if single else f"${{item.{key}}}" for key in stage.matrix}
    filled = _fill(plain, names)
    return {"foreach": values[stage.matrix[0]], "do": filled} if single else {"matrix": values, **filled}


def _fill(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, str):
        for key, name in names.items():
            value = value.replace("{" + key + "}", name)
        return value
    if isinstance(value, dict):
        return {_fill(key, names): _fill(item, names) for key, item in value.items()}
    return [_fill(item, names) for item in value] if isinstance(value, list) else value


def _dump(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, width=120, allow_unicode=True)


def refresh(root: Path) -> RetortConfig:
    """Bring the `dvc.yaml` of a workspace in line with its `params.yaml`, and check its source files.

    Raises:
        ConfigError: there is no params.yaml, it is wrong, or it leaves defaults unsaid.
        InputError: a source file does not exist.
    """
    config = load_config(root / "params.yaml")
    values = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
    if unsaid := sorted(set(resolved(config)) - set(values)):
        raise ConfigError(
            f"{root / 'params.yaml'}: lacks {', '.join(unsaid)}. DVC compares what is written there, so it must hold "
            "every section: `python -m retort.run.workspace configs/demo.yaml` writes the embedded default out in full."
        )
    check_sources(config, root)
    text = dvc_yaml(config, root=root, in_git=not _made_by_retort(root))
    file = root / "dvc.yaml"
    if not file.exists() or file.read_text(encoding="utf-8") != text:
        write_text(file, text)
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
    check_sources(config, home)
    dvc_adapter.init(root, remote=remote, cache=cache)
    for name in sorted({name for stage in STAGES for name in source_files(config, stage, home)}):
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ConfigError(
                f"{name}: lies outside {home.resolve()}, so no other machine could find it. Copy or link it there, and "
                "name it by its path from there."
            )
        if not name.startswith(f"{PACKAGE.name}/"):
            link(root / name, home / name)
    link(root / PACKAGE.name, PACKAGE)
    write_text(root / "params.yaml", _dump(resolved(config)))
    write_text(root / "dvc.yaml", dvc_yaml(config, root=root, in_git=False))


def adopt(config: Path, root: Path = Path()) -> None:
    """Make the checkout's own `params.yaml` and `dvc.yaml` from the configuration `config`."""
    header = _PARAMS_HEADER.format(config=config.as_posix())
    write_text(root / "params.yaml", header + _dump(resolved(load_config(config))))
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


def check_sources(config: RetortConfig, root: Path) -> None:
    """Refuse a configuration that names a source file or a benchmark which does not exist.

    Raises:
        InputError: naming the file.
        ConfigError: naming the benchmark's task, and the nearest ones.
    """
    for stage in STAGES:
        for name in source_files(config, stage, root):
            if not (root / name).exists():
                raise InputError(
                    f"does not exist, but stage {stage.name} reads it",
                    file=root / name,
                    remedy="Correct the path in the configuration, or run from the folder that its paths start from",
                )
    for benchmark in config.evaluate.benchmarks:
        if benchmark.task != "heldout":
            # Before anything is trained: the stage that would find out comes last.
            check_task(benchmark.task)


def _made_by_retort(root: Path) -> bool:
    config = root / ".dvc/config"
    return config.exists() and "no_scm = true" in config.read_text(encoding="utf-8")


if __name__ == "__main__":
    adopt(Path(sys.argv[1]))
