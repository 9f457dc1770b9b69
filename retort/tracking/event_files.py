"""TensorBoard: event files, a folder for each task of a run, on this machine or in an object store."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from retort.config.tracker import TensorBoardConfig
from retort.io.objects import Objects
from retort.tracking.protocol import Outcome, Row, Subject


class EventFiles:
    """See `retort.tracking.protocol.Tracker`."""

    def __init__(self, config: TensorBoardConfig, root: Path):
        self._config, self._root = config, root
        self._writer: Any = None
        self._objects: Objects | None = None
        self._folder = Path()
        self._scratch: tempfile.TemporaryDirectory[str] | None = None

    def begin(self, subject: Subject) -> None:
        """Open a file; that of an attempt that was killed stays, and TensorBoard reads both."""
        for name in ("tensorboardX", "tensorboard"):
            logging.getLogger(name).setLevel(logging.ERROR)
        # Of the same name are the runs of one workspace, and another's: what tells them apart is short enough to read.
        place = f"{subject.run}.{subject.group[:6]}/{subject.task}.{subject.key[:6]}"
        if "://" in self._config.folder:
            self._scratch = tempfile.TemporaryDirectory(prefix="retort-")
            self._folder = Path(self._scratch.name)
            self._objects = Objects.of(self._config.folder.rstrip("/"), place)
        else:
            self._folder = self._root / self._config.folder / place
        if self._writer is None:
            self._writer = _writer()(str(self._folder))
        self._text("parameters", subject.parameters)
        self._text("run", {"run": subject.run, "task": subject.task, **subject.tags})
        self._flush()

    def rows(self, rows: Sequence[Row]) -> None:
        """Rows as scalars."""
        for row in rows:
            for name, value in row.figures.items():
                self._writer.add_scalar(name, value, row.step, walltime=row.time)
        self._flush()

    def end(self, outcome: Outcome) -> None:
        """Metrics under `result/`; models by hash and address."""
        for name, value in outcome.figures.items():
            self._writer.add_scalar(f"result/{name}", value, 0)
        for name, value in outcome.summary.items():
            self._writer.add_scalar(f"run/{name}", value, 0)
        for made in outcome.made:
            self._text(made.name, {"address": made.address, "md5": made.digest})
        self._text("ended", {"state": outcome.state})
        self._flush()
        self._writer.close()
        if self._scratch is not None:
            self._scratch.cleanup()

    def _text(self, tag: str, values: Mapping[str, Any]) -> None:
        lines = [f"| {name} | {str(value).replace('|', '&#124;')} |" for name, value in values.items()]
        self._writer.add_text(tag, "\n".join(["| | |", "|---|---|", *lines]))

    def _flush(self) -> None:
        self._writer.flush()
        if self._objects is not None:  # an object cannot grow: it is written again
            for file in self._folder.iterdir():
                self._objects.write(file.name, file.read_bytes())


def _writer() -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        from torch.utils.tensorboard import SummaryWriter
    return SummaryWriter
