"""What Kubeflow's interface shows of a task's outputs: a Model or Dataset with its address in the object store.

Nothing is copied: contents lie in the store once, by their hash, where DVC keeps them.
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


def describe(artifact: Any, root: Path, task: Task, entry: Entry, remote: str) -> None:
    """Tell an artifact what the task made: address, hash, size, figures, and the hashes of what it was made from.

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
    artifact.metadata |= {"stage": task.stage.name, "task": task.address, "size": sum(map(_size, written.values()))}
    artifact.metadata |= {out["path"]: out["md5"] for out in entry.get("outs", [])}
    artifact.metadata |= {f"address of {path}": address(out, remote) for path, out in written.items()}
    artifact.metadata["made from"] = json.dumps({dep["path"]: dep["md5"] for dep in entry.get("deps", [])})
    for path in task.metrics:
        figures = dict(numbers(json.loads((root / path).read_text(encoding="utf-8"))))
        artifact.metadata |= {name: figures[name] for name in task.stage.figures if name in figures}


def address(out: Entry, remote: str) -> str:
    """Where the store keeps an output: a file's content, or a folder's list of files."""
    return f"{remote}/files/md5/{out['md5'][:2]}/{out['md5'][2:]}"


def _size(out: Entry) -> int:
    return int(out.get("size", 0))
