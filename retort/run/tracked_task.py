"""What a tracker is told of a task: the parameters that decide it, its figures, the models that it made."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from retort.config.base import flat
from retort.config.load import pick, read_yaml
from retort.errors import ConfigError
from retort.io.files import write_json
from retort.run import dvc_adapter
from retort.run.figures import numbers
from retort.run.graph import Task
from retort.run.paths import CODE, TASK, Paths
from retort.run.surroundings import versions
from retort.run.true_hashes import dvc_digest
from retort.tracking.make import make, missing
from retort.tracking.protocol import Made, Outcome, Subject
from retort.tracking.tracked import Tracked, new_key

_MODELS = ("outputs/models/", "outputs/rewards/")
_FILE = ".retort/tracker.json"
"""Under which run the tasks of a workspace are shown."""


def check_tracker(config: Any) -> None:
    """Refuse a tracker that nothing would ever arrive at.

    Args:
        config: A section of `retort.config.tracker`; None where none is asked for.

    Raises:
        ConfigError: its package is not installed, or it has no address.
    """
    if config is not None and (words := missing(config)):
        raise ConfigError(f"tracker: {config.type} {words}")


def tracked(task: Task, config: Any, paths: Paths) -> Tracked | None:
    """The task as the tracker of its configuration, `config`, sees it; None where none is asked for."""
    if config is None:
        return None
    root = paths.root
    kubeflow = os.environ.get("RETORT_RUN")
    subject = Subject(
        run=config.run or root.resolve().name,
        group=kubeflow or _group(root),
        task=task.address,
        stage=task.stage.name,
        # Attempts of one task of one Kubeflow run are one, also where the first left no resume state.
        key=hashlib.sha256(f"{kubeflow} {task.address}".encode()).hexdigest()[:32] if kubeflow else new_key(),
        parameters=_parameters(task, root),
        tags={
            "retort.stage": task.stage.name,
            "retort.reads": ", ".join(task.deps),
            "retort.version": versions(("retort",)).get("retort", ""),
            **({"retort.kubeflow": kubeflow} if kubeflow else {}),
        },
    )
    return Tracked(lambda: make(config, root), config.type, subject, paths.state(task.address))


def outcome(task: Task, root: Path, metrics: Mapping[str, Any]) -> Outcome:
    """How the task ended: its figures, those of the whole run where it writes them, and what it made."""
    summary: dict[str, float] = {}
    for path in task.summary:
        summary |= dict(numbers(json.loads((root / path).read_text(encoding="utf-8"))))
    return Outcome("finished", dict(numbers(metrics)), _made(task, root), summary)


def _made(task: Task, root: Path) -> list[Made]:
    """Models, students and rewards among the outputs, each named as DVC will record it."""
    try:
        remote: str | None = dvc_adapter.remote(root) if (root / ".dvc").is_dir() else None
    except KeyError:  # a repository of the user's own, without a remote
        remote = None
    found = []
    for path in task.outs:
        if path.startswith(_MODELS):
            digest = dvc_digest(root / path)
            place = f"{remote}/files/md5/{digest[:2]}/{digest[2:]}" if remote else str((root / path).resolve())
            found.append(Made(path.removeprefix("outputs/"), digest, place))
    return found


def _parameters(task: Task, root: Path) -> dict[str, str | int | float | bool]:
    """What decides the result; addresses, keys and prices are none of it."""
    content = pick(read_yaml(root / "params.yaml"), task.params)
    values = flat(content) | dict(task.values)
    return {
        name: value if isinstance(value, str | int | float | bool) else json.dumps(value, ensure_ascii=False)
        for name, value in values.items()
    }


def _group(root: Path) -> str:
    """What tells the run in this workspace apart: the same until its parameters or code change."""
    digest = hashlib.sha256()
    for name in ("params.yaml", CODE, TASK):
        if (root / name).exists():
            digest.update((root / name).read_bytes())
    try:
        known = json.loads((root / _FILE).read_text(encoding="utf-8"))
        if known["of"] == digest.hexdigest():
            return str(known["group"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    group = new_key()
    write_json(root / _FILE, {"of": digest.hexdigest(), "group": group})
    return group
