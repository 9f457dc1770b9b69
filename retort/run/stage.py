"""What a stage is given, and running one: the same function for the `retort` command, DVC, local Kubeflow and pods."""

from __future__ import annotations

import dataclasses
import importlib
import json
import logging
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from retort import plugins
from retort.config import RetortConfig, load_config, load_keys
from retort.config.base import flat, unknown
from retort.config.load import pick, read_yaml
from retort.errors import ConfigError, InputError
from retort.io.files import content_hash, explain_writes, write_json
from retort.io.objects import Objects
from retort.io.rank import is_rank_zero
from retort.modeling.process_group import process_group
from retort.run.code_hash import file_hashes
from retort.run.graph import Task, from_plain
from retort.run.paths import CODE, TASK, Paths
from retort.run.surroundings import surroundings
from retort.run.tasks import graph
from retort.run.tracked_task import check_tracker, outcome, tracked
from retort.tracking.tracked import current, tracking

_log = logging.getLogger(__name__)
_MOST_DIFFERENCES = 8
"""Differences that a line names; the rest are counted."""


@dataclass(frozen=True)
class Context:
    """What a stage function is given."""

    task: Task
    config: RetortConfig
    """Only the sections that the stage declares in the graph."""
    paths: Paths

    code: Mapping[str, str] = field(default_factory=dict)
    """Hash of each file of code that decides the result."""

    @property
    def name(self) -> str:
        """Name of the task in file names: its address."""
        return self.task.address

    def store(self, folder: str) -> Objects | None:
        """Objects under `folder` of the workspace's object store; None where it has none."""
        from retort.run import dvc_adapter

        if not (self.paths.root / ".dvc").is_dir():
            return None
        try:
            remote = dvc_adapter.remote(self.paths.root)
        except KeyError:  # a repository of the user's own, without a remote
            return None
        return Objects.of(remote, folder)

    def state(self) -> Path:
        """Folder of this task's resume state.

        A folder left by other inputs, parameters or code is removed, with a line that says which differ: resuming from
        it would mix two runs.

        Raises:
            InputError: something that the task reads does not exist.
        """
        folder = self.paths.state(self.name)
        mark = folder / "made-of.json"
        parts = self._made_of()
        if folder.is_dir() and any(folder.iterdir()) and (differing := _differences(mark, parts)):
            _log.warning("%s: the state of an earlier attempt is not resumed from, for %s", self.name, differing)
            if is_rank_zero():
                shutil.rmtree(folder)
        write_json(mark, parts)
        process_group().wait()  # nobody reads before the first process has tidied up
        if (shown := current()) is not None:
            shown.kept_in(folder)
        return folder

    def _content(self, path: str) -> str:
        if not (self.paths.root / path).exists():
            raise InputError(
                f"does not exist, but {self.name} reads it",
                file=self.paths.root / path,
                remedy="Run the stage that writes it first: `retort graph` prints which one",
            )
        return content_hash(self.paths.root / path)

    def _made_of(self) -> dict[str, dict[str, Any]]:
        """What decides the task's result: parameters by name, content of inputs and of code by path."""
        content = pick(read_yaml(self.paths.root / "params.yaml"), self.task.params)
        return {
            "parameter": flat(content) | dict(self.task.values),
            "input": {path: self._content(path) for path in self.task.deps},
            "code": dict(self.code),
        }


def _differences(mark: Path, parts: Mapping[str, Mapping[str, Any]]) -> str:
    """What differs between what a state was made of and `parts`, in words; empty where nothing does."""
    try:
        before = json.loads(mark.read_text(encoding="utf-8"))
        words = []
        for kind, now in parts.items():
            for name in sorted({*before[kind], *now}):
                old, new = before[kind].get(name), now.get(name)
                if old != new:
                    words.append(
                        f"{kind} {name} differs" + (f" ({old} then, {new} now)" if kind == "parameter" else "")
                    )
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return "it does not say what it was made of"
    rest = f"; and {len(words) - _MOST_DIFFERENCES} more" if len(words) > _MOST_DIFFERENCES else ""
    return "; ".join(words[:_MOST_DIFFERENCES]) + rest


def read_task(name: str, values: Mapping[str, str], root: Path) -> tuple[Task, list[str]]:
    """The task of stage `name` in the workspace `root`, and the keys of the configuration that it may see.

    A pod's workspace knows one task, from `task.json`; any other makes the graph of its `params.yaml`.

    Raises:
        ConfigError: there is no such stage or task, or the configuration is wrong.
    """
    if (file := root / TASK).exists():
        task = from_plain(json.loads(file.read_text(encoding="utf-8")))
        if (task.stage.name, dict(task.values)) == (name, dict(values)):
            return task, [*task.params, *task.operation]
    made = graph(load_config(root / "params.yaml", root=root), root)
    tasks = made.of_stage(name)
    if not tasks:
        raise ConfigError(unknown(f"stage {name!r}", name, [stage.name for stage in made.stages]) + ".")
    stage = tasks[0].stage
    if set(values) != set(stage.matrix):
        raise ConfigError(
            f"stage {name} needs {', '.join(f'--{key}' for key in stage.matrix) or 'no matrix value'}, "
            f"got {dict(values)}."
        )
    for task in tasks:
        if dict(task.values) == dict(values):
            return task, [*task.params, *task.operation]
    known = ", ".join(task.item for task in tasks)
    raise ConfigError(f"stage {name} has no task {'-'.join(values[key] for key in stage.matrix)}; it has {known}.")


def context_of(name: str, values: Mapping[str, str], root: Path = Path()) -> Context:
    """What one task of stage `name` is given in the workspace `root`.

    Raises:
        ConfigError: there is no such stage or task, the configuration is wrong, or the code is not the recorded one.
    """
    task, keys = read_task(name, values, root)
    check_code(task, root)
    config = load_keys(root / "params.yaml", keys)
    return Context(task, config, Paths(root), file_hashes(task.modules, task.without))


def run_stage(name: str, values: Mapping[str, str], root: Path = Path()) -> dict[str, Any]:
    """Run one task of stage `name` in the workspace `root` and return its metrics.

    Writes the stage's outputs, `metrics/TASK.json` and, apart from what is versioned, its wall time and what it ran on.

    Raises:
        ConfigError: there is no such stage or task, the configuration is wrong, or the code is not the recorded one.
        StorageError: the disk is full, whoever found out.
        RetortError: whatever the stage itself refuses.
    """
    context = context_of(name, values, root)
    task = context.task
    check_tracker(context.config.tracker)
    started, metrics = time.monotonic(), dict[str, Any]()
    with (
        explain_writes(root.resolve(), kept="what earlier stages wrote is unchanged"),
        plugins.at(root),
        tracking(lambda: tracked(task, context.config.tracker, context.paths), lambda: outcome(task, root, metrics)),
    ):
        metrics |= dataclasses.asdict(importlib.import_module(task.stage.run).run(context))
        if task.metrics:
            write_json(context.paths.metrics(context.name), metrics)
    timing = {"task": task.address, "seconds": time.monotonic() - started, "machine": surroundings()}
    write_json(context.paths.timing(context.name), timing)
    process_group().wait()  # nobody needs the state any more
    if is_rank_zero() and not os.environ.get("RETORT_KEEP_STATE"):  # a pod keeps it until the outputs are stored
        shutil.rmtree(context.paths.state(context.name), ignore_errors=True)
    return metrics


def check_code(task: Task, root: Path) -> None:
    """Refuse to run other code than the workspace says that the task is made by: DVC would record what it is not.

    Raises:
        ConfigError: the code has changed since `code.yaml` was written.
    """
    file = root / CODE
    known = yaml.safe_load(file.read_text(encoding="utf-8")) if file.exists() else {}
    if known.get(task.address, task.code()) != task.code():
        raise ConfigError(
            f"{file}: the code of {task.address} has changed since this was written. Run `retort run`, or bring "
            "dvc.yaml and code.yaml in line by `retort graph --write`."
        )


__all__ = ["Context", "check_code", "context_of", "read_task", "run_stage"]
