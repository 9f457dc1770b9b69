"""Where a run's artifacts come from: the content hashes that DVC recorded in `dvc.lock`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from retort.errors import InputError


@dataclass(frozen=True)
class Artifact:
    """One versioned output of a task."""

    task: str
    path: str
    digest: str
    """MD5 by which DVC stores it; `.dir` ends that of a folder."""
    size: int | None
    files: int | None


def read_lineage(lock: Path) -> list[Artifact]:
    """Outputs of every task in `dvc.lock`, in its order; empty when there is no such file.

    Raises:
        InputError: the file is not YAML.
    """
    if not lock.exists():
        return []
    try:
        content = yaml.safe_load(lock.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise InputError(f"is not YAML ({error})", file=lock, remedy="Run `dvc repro` to write it again") from error
    return [
        Artifact(task, out["path"], str(out.get("md5") or out.get("hash") or ""), out.get("size"), out.get("nfiles"))
        for task, entry in (content.get("stages") or {}).items()
        for out in entry.get("outs") or []
    ]
