"""What Kubeflow's interface shows of a task's outputs: its figures, and a Model or Dataset with address and hashes.

Nothing is copied: contents lie in the store once, by their hash, where DVC keeps them. The interface lists the
artifacts of all runs in one table, so each is called as what it is (`models/sft`), not all of them `model`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from retort.run.dvc_adapter import Entry
from retort.run.figures import numbers
from retort.run.graph import Task

SCHEME = "dvc+"
"""Before an address. Kubeflow's launcher would upload what it takes for an object of its own store (s3://, gs://), and
fails the task where that is another bucket than its pipeline root; what it does not know it only records."""


NAME = "display_name"
"""Property in which Kubeflow keeps an artifact's name."""


def measure(artifact: Any, root: Path, task: Task) -> None:
    """Tell Kubeflow's Metrics what the task measured; hashes are no figures, and belong to what `describe` describes.

    Args:
        artifact: Kubeflow's Metrics.
        root: The task's workspace, which has its metrics.
        task: The task.
    """
    for name, value in _figures(root, task).items():
        artifact.log_metric(name, value)
    artifact.metadata[NAME] = f"metrics/{task.address}"


def describe(artifact: Any, root: Path, task: Task, entry: Entry, remote: str) -> None:
    """Tell an artifact what the task made: name, address, hash, size, figures, and what it was made from.

    Args:
        artifact: Kubeflow's Model or Dataset.
        root: The task's workspace, which has its metrics.
        task: The task.
        entry: Its entry of the lock.
        remote: The object store.
    """
    written = {out["path"]: out for out in entry.get("outs", []) if out["path"] in task.outs}
    first = next(written[path] for path in task.outs)
    artifact.uri = SCHEME + address(first, remote)
    artifact.metadata[NAME] = ", ".join(path.removeprefix("outputs/") for path in written)
    artifact.metadata |= {"stage": task.stage.name, "task": task.address, "bytes": sum(map(_size, written.values()))}
    artifact.metadata |= {out["path"]: out["md5"] for out in entry.get("outs", [])}
    artifact.metadata |= {f"address of {path}": address(out, remote) for path, out in written.items()}
    artifact.metadata["made from"] = json.dumps({dep["path"]: dep["md5"] for dep in entry.get("deps", [])})
    # A pod does not know which figures its stage is watched by (`Stage.figures`): they decide nothing, so no cache key
    # may contain them. Those of the first level are few; the Metrics artifact has all.
    artifact.metadata |= {name: value for name, value in _figures(root, task).items() if "." not in name}


def address(out: Entry, remote: str) -> str:
    """Where the store keeps an output: a file's content, or a folder's list of files."""
    return f"{remote}/files/md5/{out['md5'][:2]}/{out['md5'][2:]}"


def _size(out: Entry) -> int:
    return int(out.get("size", 0))


def _figures(root: Path, task: Task) -> dict[str, float]:
    found: dict[str, float] = {}
    for path in task.metrics:
        found |= numbers(json.loads((root / path).read_text(encoding="utf-8")))
    return found
