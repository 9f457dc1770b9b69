"""The metrics of a run's stages, from the files that the report task of its graph reads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from retort.config import RetortConfig
from retort.config.run import TEACHER
from retort.errors import InputError
from retort.run.graph import Stage, Task, values_of
from retort.run.known_stages import STAGES, method_stage
from retort.run.paths import Paths

_RATES = {"identical_share": "prompts", "cut_off_rate": "responses"}
"""Shares of responses, and the count that each one is a share of."""

_TOKENS = ("prompt_tokens", "response_tokens", "flops")
"""What is kept of an evaluation: its tables are read instead."""


@dataclass(frozen=True)
class Measured:
    """What the tasks of one group (`retort.run.graph.Task.group`) left behind."""

    stage: Stage
    values: Mapping[str, str] = field(default_factory=dict)
    """Matrix values that the tasks share."""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    """Of several tasks: counts added up, shares averaged over what they are shares of, words that all share kept."""

    @property
    def answered_by(self) -> str | None:
        """Model whose prompt and response tokens the metrics count; None where they count no answers."""
        if self.stage.fan is None or self.stage.uses != "models":
            return None
        return self.values.get("model") or self.values.get("student") or TEACHER


def read_stages(paths: Paths, config: RetortConfig, report: Task) -> dict[str, Measured]:
    """Metrics by group of tasks, in the order of the graph; a file that is missing is left out.

    Args:
        config: At least what the report task declares.
        report: The report task, which reads the metrics of all others.

    Raises:
        InputError: a file is not a JSON object.
    """
    known = STAGES | {method.name: method_stage(method) for method in map(config.method, config.students)}
    found: dict[str, list[tuple[Task, dict[str, Any]]]] = {}
    for path in report.deps:
        file = Path(path)
        if file.parent != paths.metrics("").parent.relative_to(paths.root) or not (paths.root / file).exists():
            continue
        name, _, item = file.stem.partition("-")
        task = Task(known[name], values_of(known[name], item))
        metrics = _read(paths.root / file)
        if "model" in task.values:
            metrics = {key: metrics[key] for key in _TOKENS if key in metrics}
        found.setdefault(task.group, []).append((task, metrics))
    return {
        group: Measured(
            tasks[0][0].stage,
            {key: value for key, value in tasks[0][0].values.items() if key != tasks[0][0].stage.fan},
            tasks[0][1] if len(tasks) == 1 else _together([metrics for _, metrics in tasks]),
        )
        for group, tasks in found.items()
    }


def _together(shards: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Counts added up, and the shares of them all that can be told from those of each."""
    added = add_up(shards)
    for key, weight in _RATES.items():
        known = [(shard[key], shard[weight]) for shard in shards if shard.get(key) is not None and shard.get(weight)]
        if known:
            added[key] = sum(share * count for share, count in known) / sum(count for _, count in known)
    return added


def add_up(shards: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Sum counts and compute over shards, and drop rates, which cannot be summed.

    What holds of all shards holds; of lists everything is kept, of words those that all share. A shard that knows
    nothing of a thing (null) has no say in it.
    """
    added: dict[str, Any] = {}
    for key in dict.fromkeys(key for shard in shards for key in shard):
        values = [shard[key] for shard in shards if key in shard]
        known = [value for value in values if value is not None]
        if key == "flops" or all(type(value) is int for value in values):
            added[key] = sum(value or 0 for value in values)
        elif known and all(isinstance(value, dict) for value in known):
            added[key] = add_up(known)
        elif known and all(isinstance(value, bool) for value in known):
            added[key] = all(known)
        elif known and all(isinstance(value, list) for value in known):
            added[key] = [one for place, one in enumerate(chain(*known)) if one not in list(chain(*known))[:place]]
        elif not isinstance(values[0], float) and all(value == values[0] for value in values):
            added[key] = values[0]
    return added


def _read(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise InputError(f"is not JSON ({error})", file=file, remedy="Run its stage again") from error
    if not isinstance(value, dict):
        raise InputError("is not a JSON object", file=file, remedy="Run its stage again")
    return value
