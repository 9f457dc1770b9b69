"""The machine: a folder that can be written, with room for what the run makes; enough memory, the right Python."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from retort.check.finding import Checked
from retort.config.training import OptimizerConfig
from retort.errors import MissingToolError, StorageError
from retort.run.doctor import examine
from retort.run.embedded import place

_GIB = 2**30
_ROOM = _GIB // 2
"""Bytes for tables, logs and figures, whatever the models' sizes."""
_WHILE_TRAINING = 5
"""Sizes of a model that a checkpoint in training takes at most: weights twice (a new one before the old one goes) and
Adam's two moments, with room for a critic."""
_CHECKS = ("python", "memory")
"""Of `retort doctor`, what stops every run."""


def check_machine(on: Checked) -> None:
    """Whether the folder can be written, and whether it has room."""
    if not on.here:
        return
    if (words := _unwritable(on.root)) is not None:
        on.error("", words, StorageError.exit_code)
        return
    for check in examine(on.root, names=_CHECKS):
        if check.status == "missing":
            on.error("", f"{check.name}: {check.found}. {check.remedy}.", MissingToolError.exit_code)
    needed, free = _needed(on), shutil.disk_usage(on.root).free
    if needed > free:
        on.error(
            "",
            f"{on.root.resolve()}: has {free / _GIB:.1f} GiB free, and the run may take {needed / _GIB:.1f} GiB "
            "(students and reward models twice, in the workspace and in DVC's cache; checkpoints). Free space, or move "
            "the cache (dvc cache dir PATH).",
            StorageError.exit_code,
        )
    else:
        unknown = sorted(name for name in _bases(on) if _size(on, name) == 0)
        more = (
            f" beside what comes of {', '.join(unknown)}, whose weights are not here to be measured" if unknown else ""
        )
        on.facts.append(f"{needed / _GIB:.1f} GiB of disk at most{more}, of {free / _GIB:.0f} GiB free")


def _unwritable(folder: Path) -> str | None:
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".retort-", delete=True) as file:
            file.write(b"\0" * 4096)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return (
            f"{folder.resolve()}: cannot be written ({error.strerror}). Free space or fix permissions there, or run in "
            "another folder."
        )
    return None


def _needed(on: Checked) -> int:
    """Bytes that the run may write, by the sizes of the models in folders here."""
    config, total, largest = on.config, _ROOM, 0
    for name in config.students:
        size = _size(on, config.base_of(name))
        lora = getattr(config.settings(name), "lora", None) is not None
        total += 2 * size
        largest = max(largest, size if lora else _WHILE_TRAINING * size)
    for name in config.learned_rewards():
        settings: OptimizerConfig = config.reward_settings(name)
        size = _size(on, on.base_of(config.reward_settings(name).trunk))
        total += 2 * size
        largest = max(largest, size if getattr(settings, "lora", None) is not None else _WHILE_TRAINING * size)
    return total + largest


def _bases(on: Checked) -> set[str]:
    """Models that students and learned rewards begin as."""
    trunks = (on.base_of(on.config.reward_settings(name).trunk) for name in on.config.learned_rewards())
    return {*map(on.config.base_of, on.config.students), *trunks}


def _size(on: Checked, name: str) -> int:
    """Bytes of a model's weights; 0 where they are not here."""
    source = config.source if (config := on.config.models.get(name)) is not None else None
    folder = None if source is None else place(source, on.root)
    if folder is None or not folder.is_dir():
        return 0
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))
