"""Handing a run's student over: its folder with the model card as README.md."""

from __future__ import annotations

import shutil
from pathlib import Path

from retort.errors import InputError
from retort.io.files import atomic_path
from retort.run.paths import Paths


def export_student(paths: Paths, final_model: str, target: Path) -> None:
    """Copy the final student to `target`, with the report's model card, atomically.

    Args:
        final_model: Name of the student; the report's `final_model`.

    Raises:
        InputError: there is no student or no card yet, or `target` is a file or a folder that holds other things.
        StorageError: `target` could not be written.
    """
    source, card = paths.model(final_model), paths.report / "model_card.md"
    for needed in (source / "config.json", card):
        if not needed.exists():
            raise InputError("does not exist", file=needed, remedy="Run `retort run` first, then export")
    if target.exists() and not _may_replace(target):
        raise InputError(
            "exists and is no exported model", file=target, remedy="Give a new folder, or remove this one first"
        )
    with atomic_path(target.absolute()) as temporary:
        shutil.copytree(source, temporary)
        shutil.copyfile(card, temporary / "README.md")


def _may_replace(target: Path) -> bool:
    return target.is_dir() and (not any(target.iterdir()) or (target / "config.json").exists())
