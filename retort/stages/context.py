"""What a stage is given, and running one: the same function for the `retort` command, DVC, local Kubeflow and pods."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retort.closure import code_hash
from retort.config import RetortConfig, load_keys
from retort.errors import ConfigError
from retort.files import content_hash, explain_writes, write_json
from retort.graph import BY_NAME, Task, tasks
from retort.paths import Paths


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

        A folder left by other inputs, parameters or code is removed: resuming from it would mix two runs.
        """
        folder = self.paths.state(self.name)
        mark = folder / "fingerprint"
        fingerprint = self._fingerprint()
        if folder.exists() and not (mark.exists() and mark.read_text() == fingerprint):
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        mark.write_text(fingerprint)
        return folder

    def _fingerprint(self) -> str:
        parts: list[Any] = [self.config.model_dump(mode="json", warnings=False), self.task.values]
        for pattern in self.task.stage.deps:
            folder, _, name = pattern.rpartition("/")
            names = name
            for key in ("shard", "model", "benchmark"):
                names = names.replace("{" + key + "}", self.task.values.get(key, "*"))
            parts += [[str(path), content_hash(path)] for path in sorted((self.paths.root / folder).glob(names))]
        parts.append(code_hash(self.task.stage.code()))
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


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
    shutil.rmtree(context.paths.state(context.name), ignore_errors=True)
    return metrics


__all__ = ["Context", "run_stage", "tasks"]
