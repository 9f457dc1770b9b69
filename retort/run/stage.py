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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retort.config import RetortConfig, load_keys
from retort.errors import ConfigError
from retort.io.files import content_hash, explain_writes, write_json
from retort.io.rank import is_rank_zero
from retort.modeling.process_group import team
from retort.run.code_hash import code_hash
from retort.run.graph import BY_NAME, Task, tasks
from retort.run.paths import Paths

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

    @property
    def name(self) -> str:
        """Name of the task in file names: the stage's, with its matrix values."""
        return "-".join([self.task.stage.name, *self.task.values.values()])

    def state(self) -> Path:
        """Folder of this task's resume state.

        A folder left by other inputs, parameters or code is removed, with a line that says which differ: resuming from
        it would mix two runs.
        """
        folder = self.paths.state(self.name)
        mark = folder / "made-of.json"
        parts = self._made_of()
        if folder.is_dir() and any(folder.iterdir()) and (differing := _differences(mark, parts)):
            _log.warning("%s: the state of an earlier attempt is not resumed from, for %s", self.name, differing)
            if is_rank_zero():
                shutil.rmtree(folder)
        write_json(mark, parts)
        team().wait()  # nobody reads before the first process has tidied up
        return folder

    def _made_of(self) -> dict[str, dict[str, Any]]:
        """What decides the task's result: parameters by name, content of inputs and of code by path."""
        inputs: dict[str, str] = {}
        for pattern in self.task.stage.deps:
            folder, _, name = pattern.rpartition("/")
            names = name
            for key in ("shard", "model", "benchmark"):
                names = names.replace("{" + key + "}", self.task.values.get(key, "*"))
            found = sorted((self.paths.root / folder).glob(names))
            inputs |= {path.relative_to(self.paths.root).as_posix(): content_hash(path) for path in found}
        parameters = _flat(self.config.model_dump(mode="json", warnings=False)) | self.task.values
        return {
            "parameter": parameters,
            "input": inputs,
            "code": {file: code_hash([file]) for file in self.task.stage.code()},
        }


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections as `section.key`."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


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


def run_stage(name: str, values: Mapping[str, str], root: Path = Path()) -> dict[str, Any]:
    """Run one task of stage `name` in the workspace `root` and return its metrics.

    Writes the stage's outputs, `metrics/TASK.json` and, apart from what is versioned, its wall time.

    Raises:
        ConfigError: there is no such stage or task, or the configuration is wrong.
        StorageError: the disk is full, whoever found out.
        RetortError: whatever the stage itself refuses.
    """
    if name not in BY_NAME:
        raise ConfigError(f"unknown stage {name!r}; known: {', '.join(BY_NAME)}.")
    stage = BY_NAME[name]
    config = load_keys(root / "params.yaml", stage.params)
    if set(values) != set(stage.matrix):
        raise ConfigError(
            f"stage {name} needs {', '.join(f'--{key}' for key in stage.matrix) or 'no matrix value'}, "
            f"got {dict(values)}."
        )
    context = Context(Task(stage, dict(values)), config, Paths(root))
    started = time.monotonic()
    with explain_writes(root.resolve(), kept="what earlier stages wrote is unchanged"):
        result = importlib.import_module(f"retort.stages.{stage.module or name}").run(context)
    metrics = dataclasses.asdict(result)
    if stage.metrics:
        write_json(context.paths.metrics(context.name), metrics)
    write_json(
        context.paths.timing(context.name), {"task": context.task.address, "seconds": time.monotonic() - started}
    )
    team().wait()  # nobody needs the state any more
    if is_rank_zero() and not os.environ.get("RETORT_KEEP_STATE"):  # a pod keeps it until the outputs are stored
        shutil.rmtree(context.paths.state(context.name), ignore_errors=True)
    return metrics


__all__ = ["Context", "run_stage", "tasks"]
