"""Weights & Biases: a group for each run of Retort, a run for each of its tasks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from retort.config.tracker import WandbConfig
from retort.tracking.protocol import Outcome, Row, Subject

_EXIT = {"finished": 0, "failed": 1, "stopped": 1}


class WandbRuns:
    """See `retort.tracking.protocol.Tracker`."""

    def __init__(self, config: WandbConfig, root: Path):
        import wandb

        self._wandb, self._config, self._root = wandb, config, root
        self._run: Any = None

    def begin(self, subject: Subject) -> None:
        """Start the task's run, or go on with the one of that key."""
        folder = self._root / ".retort/trackers"
        folder.mkdir(parents=True, exist_ok=True)
        settings = self._wandb.Settings(
            # What it would look up by itself is nobody's business: code, git's remote, the command line, the terminal.
            console="off",
            disable_code=True,
            disable_git=True,
            save_code=False,
            x_disable_machine_info=True,
            x_disable_meta=True,
            x_disable_stats=True,
            silent=True,
            init_timeout=10,
            finish_timeout=10,
            **({"base_url": self._config.address} if self._config.address else {}),
        )
        self._run = self._wandb.init(
            id=subject.key[:32],
            resume="allow" if self._config.mode == "online" else None,
            project=self._config.project,
            entity=self._config.entity,
            group=f"{subject.run}-{subject.group[:6]}",
            job_type=subject.stage,
            name=subject.task,
            notes=f"{subject.task} of run {subject.run}",
            config={**subject.parameters, "retort": {"run": subject.run, **subject.tags}},
            mode=self._config.mode,
            dir=os.fspath(folder),
            settings=settings,
        )

    def rows(self, rows: Sequence[Row]) -> None:
        """Rows by step."""
        for row in rows:
            self._run.log(dict(row.figures), step=row.step)

    def end(self, outcome: Outcome) -> None:
        """Metrics as the run's summary, models as artifacts that refer to where they lie."""
        self._run.summary.update({f"result/{name}": value for name, value in outcome.figures.items()})
        self._run.summary.update({f"run/{name}": value for name, value in outcome.summary.items()})
        for made in outcome.made:
            kind, _, name = made.name.partition("/")
            artifact = self._wandb.Artifact(
                f"{self._run.group}-{name}", type=kind.removesuffix("s"), metadata={"md5": made.digest}
            )
            address = made.address if "://" in made.address else Path(made.address).resolve().as_uri()
            artifact.add_reference(address, name=name, checksum=False)
            self._run.log_artifact(artifact)
        self._run.finish(exit_code=_EXIT[outcome.state])
