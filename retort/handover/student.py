"""What a run hands over: its student, with what is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retort.config.load import read_yaml
from retort.errors import InputError
from retort.io.files import content_hash
from retort.report.runs import read_figures
from retort.run.dvc_adapter import read_lock
from retort.run.find import name_of, report_of
from retort.run.paths import Paths


@dataclass(frozen=True)
class Student:
    """The student of a run."""

    run: str
    root: Path
    """Workspace of the run."""
    name: str
    """Of the student in the configuration."""
    label: str
    """What the report's tables call it."""
    report: Mapping[str, Any]
    """Content of `metrics.json`."""
    summary: Mapping[str, float]
    """Content of `summary.json`."""

    @property
    def folder(self) -> Path:
        """Its Hugging Face folder."""
        return Paths(self.root).model(self.name)

    @property
    def card(self) -> Path:
        """Its model card."""
        return Paths(self.root).report / "model_card.md"

    @property
    def better_than_base(self) -> bool | None:
        """Whether the report shows it to be better than what it was made from; None where that was not measured."""
        pair = self.report["paired"].get(f"{self.name}_minus_{self.report['base']}")
        return None if pair is None else bool(pair["low"] > 0)

    @property
    def content(self) -> str:
        """MD5 of its folder, by which DVC knows it; of a folder that DVC has not recorded, SHA-256 of its content."""
        place = self.folder.relative_to(self.root).as_posix()
        outs = (out for entry in read_lock(self.root).values() for out in entry.get("outs", []))
        return next((str(out["md5"]) for out in outs if out["path"] == place), "") or content_hash(self.folder)

    def params(self) -> dict[str, Any]:
        """The parameters of its run."""
        return read_yaml(self.root / "params.yaml")


def student_of(root: Path) -> Student:
    """The student that the run in `root` hands over.

    Raises:
        InputError: there is no report, card or model yet, or a gate stopped every student.
    """
    report, paths = report_of(root), Paths(root)
    name = str(report["final_model"])
    found = Student(
        name_of(root), root, name, str(report["names"].get(name, name)), report, read_figures(paths.summary)[0]
    )
    if not (found.folder / "config.json").exists():
        stopped = (found.folder / "reference.json").exists()
        raise InputError(
            "is no model of this run: a gate stopped every student" if stopped else "holds no model",
            file=found.folder,
            remedy="See its report.html for what the gate lacked" if stopped else "Run `retort run`, or fetch the run",
        )
    if not found.card.exists():
        raise InputError("does not exist", file=found.card, remedy="Run `retort run` first")
    return found
