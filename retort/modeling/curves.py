"""Curves of a training stage: DVCLive files that grow while it trains; a tracker is told of every row."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

from retort.errors import TrainingError
from retort.io.files import explain_writes
from retort.io.rank import is_rank_zero
from retort.tracking.tracked import current


class Curves:
    """Logs figures by step, live, and survives a killed stage.

    DVC deletes a stage's curves before it runs it again, so every row is kept in `state` too and replayed up to
    the step that training resumes from.

    Args:
        folder: Where DVCLive writes.
        state: Resume state of the stage.
        resume_step: Last step whose rows count; later ones belong to work that is done again.
    """

    def __init__(self, folder: Path, state: Path, *, resume_step: int = 0):
        self._live: Any = None
        if not is_rank_zero():  # the first process of a group logs for all
            return
        from dvclive import Live

        shutil.rmtree(folder, ignore_errors=True)
        # DVCLive must only write files: a stage runs inside DVC, which commits them, and where no git is.
        self._live = Live(str(folder), save_dvc_exp=False, dvcyaml=None, report=None, monitor_system=False)
        self._rows = state / "curves.jsonl"
        kept = [row for row in self._read() if row["step"] <= resume_step]
        self._rows.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
        for row in kept:
            self._write(row["step"], row["figures"])

    def log(self, step: int, **figures: float) -> None:
        """Log figures of one step.

        Raises:
            TrainingError: a figure is not a finite number; training cannot be trusted from here on.
            StorageError: the disk is full; training resumes from its last checkpoint.
        """
        for name, value in figures.items():
            if not math.isfinite(value):
                raise TrainingError(
                    f"{name} is {value} at step {step}. Lower the learning rate, or look for empty or extreme "
                    "examples; the checkpoint before this step is kept."
                )
        if self._live is None:
            return
        with explain_writes(self._rows, kept="training goes on from its last checkpoint"):
            with self._rows.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps({"step": step, "figures": figures}) + "\n")
            self._write(step, figures)

    def _write(self, step: int, figures: dict[str, float]) -> None:
        if (tracked := current()) is not None:  # which tells nothing twice
            tracked.curve(step, figures)
        self._live.step = step
        for name, value in figures.items():
            self._live.log_metric(name, float(f"{value:.6g}"))
        self._live.make_summary()

    def _read(self) -> list[dict[str, Any]]:
        if not self._rows.exists():
            return []
        rows = []
        for line in self._rows.read_text(encoding="utf-8").splitlines():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:  # the last line of a killed process
                break
        return rows
