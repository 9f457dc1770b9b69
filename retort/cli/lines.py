"""What `retort run` shows: a line for each task that ran, with its time and its figures; what Ctrl-C left."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from retort.io import terminal

if TYPE_CHECKING:
    from retort.run.dvc_workspace import How
    from retort.run.graph import Graph


class Lines:
    """Hears of each task of the run in `root`, as `retort.run.dvc_adapter.reproduce` tells it."""

    def __init__(self, root: Path, graph: Graph) -> None:
        self._root, self._tasks = root.resolve(), graph.by_address  # DVC works in another folder
        self._width = max(map(len, self._tasks))
        self.count: Counter[How] = Counter()
        """Tasks so far, by what became of them."""

    def __call__(self, address: str, how: How, seconds: float) -> None:
        """Show a task that is up to date now."""
        from retort.run.figures import line
        from retort.run.paths import Paths

        self.count[how] += 1
        if how == "unchanged" or terminal.level() == "quiet":
            return
        file, task = Paths(self._root).metrics(address), self._tasks.get(address)
        metrics = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        figures = "" if task is None else line(metrics, task.stage.figures)
        spent = "restored" if how == "restored" else clock(seconds)
        terminal.say(f"{address:<{self._width}}  {spent:>8}  {figures}".rstrip())

    def left(self, task: str | None) -> str:
        """What is kept of a run that was stopped in a task, in a sentence or two."""
        from retort.run.paths import Paths

        done = f"{self.count.total()} of {len(self._tasks)} tasks are done and kept."
        folder = None if task is None else Paths(self._root).state(task)
        if folder is None or not folder.is_dir():
            return done
        if (log := folder / "responses.jsonl").exists():
            with log.open("rb") as stream:
                return f"{done} Of this one, {sum(1 for _ in stream):,} responses are kept."
        steps = [file.stem for pattern in ("step-*", "checkpoint-*") for file in folder.rglob(pattern)]
        numbers = [int(digits) for name in steps if (digits := "".join(filter(str.isdigit, name)))]
        return f"{done} This one goes on after step {max(numbers):,}." if numbers else f"{done} This one begins again."


def clock(seconds: float) -> str:
    """A time as one reads it: `4 s`, `1:23`, `2:03:10`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"
