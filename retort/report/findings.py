"""What a run found, read from the workspace's versioned tables and metrics into one value.

Whatever is missing (a model that was not evaluated, prompts without gold answers, a stage that was left out) is
left out here too; nothing is guessed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from retort.config import RetortConfig
from retort.errors import InputError
from retort.io.tables import RESULTS, VOTES, Rows, read_table
from retort.report.curves import Curve, read_curves
from retort.report.labels import Labels, summarise_votes
from retort.report.reward import OfSource, summarise_reward
from retort.report.scores import ORDER, PAIRS, Benchmark, compare_models
from retort.run.graph import BY_NAME, tasks
from retort.run.paths import Paths


@dataclass(frozen=True)
class Findings:
    """Everything that the report shows, apart from what is not versioned (wall times, lineage)."""

    title: str
    benchmarks: list[Benchmark]
    """The first one is the primary one."""
    labels: Labels | None
    reliability: dict[str, OfSource]
    """Scores and calibration of the reward model by source; empty where there are none."""
    stages: dict[str, dict[str, Any]]
    """Metrics of each stage; those of a sharded stage summed over shards where they are counts."""
    curves: dict[str, dict[str, Curve]]
    """Curves of `sft` and `ppo`."""
    results: dict[str, Rows] = field(repr=False)
    """Per-item results of the primary benchmark by model, for samples."""
    prompts: dict[str, str] = field(repr=False)
    """Questions of the primary benchmark by item."""
    unchecked: list[str] = field(default_factory=list)
    """Benchmarks without a file here, so that no prompt was compared with their questions."""

    @property
    def primary(self) -> Benchmark:
        """The benchmark that claims are judged by."""
        return self.benchmarks[0]

    @property
    def shown(self) -> list[Benchmark]:
        """The benchmarks without the PPO student where PPO was skipped: its folder holds the SFT student then."""
        if self.gate_passed is not False:
            return self.benchmarks
        return [
            Benchmark(
                item.name,
                {name: found for name, found in item.models.items() if name != "ppo"},
                {name: found for name, found in item.paired.items() if "ppo" not in PAIRS[name]},
                item.temperature,
            )
            for item in self.benchmarks
        ]

    @property
    def gate_passed(self) -> bool | None:
        """Whether the reward model was good enough for PPO; None when it says nothing."""
        return self.stages.get("reward", {}).get("gate_passed")

    @property
    def final_model(self) -> str:
        """Model that the run hands over: `ppo`, or `sft` where the gate stopped PPO."""
        return "sft" if self.gate_passed is False else "ppo"

    def as_metrics(self) -> dict[str, Any]:
        """The content of `metrics.json`."""
        tables = {
            item.name: {
                "models": {name: asdict(score) for name, score in item.models.items()},
                "paired": {name: asdict(pair) for name, pair in item.paired.items()},
            }
            for item in self.benchmarks
        }
        return {
            "benchmark": self.primary.name,
            **tables[self.primary.name],
            "benchmarks": tables,
            "final_model": self.final_model,
            "gate_passed": self.gate_passed,
            "gate_reasons": list(self.stages.get("reward", {}).get("gate_reasons") or []),
            "labels": asdict(self.labels) if self.labels else None,
            "reliability": {source: asdict(found) for source, found in self.reliability.items()},
            "stages": self.stages,
        }


def gather(paths: Paths, config: RetortConfig) -> Findings:
    """Read what the run in the workspace left behind.

    Raises:
        InputError: a table of a model and benchmark that the configuration names is missing or malformed.
    """
    names = [benchmark.name for benchmark in config.evaluate.benchmarks]
    results: dict[str, dict[str, Rows]] = {
        benchmark: {
            model: read_table(paths.results(model, benchmark), RESULTS)
            for model in ORDER
            if model in config.evaluate.models
        }
        for benchmark in names
    }
    votes = read_table(paths.votes, VOTES) if paths.votes.exists() else []
    return Findings(
        title=config.report.title,
        benchmarks=[
            compare_models(one.name, results[one.name], _costs(paths, one.name), one.temperature)
            for one in config.evaluate.benchmarks
        ],
        labels=summarise_votes(votes) if votes else None,
        reliability=summarise_reward(paths.model("reward") / "validation.parquet"),
        stages=_stage_metrics(paths, config),
        curves={stage: read_curves(paths.curves(stage)) for stage in ("sft", "ppo")},
        results=results[names[0]],
        prompts={row["item_id"]: row["question"] for rows in results[names[0]].values() for row in rows},
        unchecked=[one.name for one in config.evaluate.benchmarks if one.task != "heldout" and not one.data],
    )


def _stage_metrics(paths: Paths, config: RetortConfig) -> dict[str, dict[str, Any]]:
    """Metrics of every stage; of `evaluate` only what it cost, for its tables are read instead."""
    found: dict[str, dict[str, Any]] = {}
    for name, stage in BY_NAME.items():
        files = [paths.metrics("-".join([name, *task.values.values()])) for task in tasks(config, stage)]
        read = [_read_json(file) for file in files if stage.metrics and file.exists()]
        if name == "evaluate":
            read = [{key: values[key] for key in _EVALUATION_COSTS if key in values} for values in read]
        if read:
            found[name] = read[0] if len(read) == 1 else _add_up(read)
    return found


_EVALUATION_COSTS = ("prompt_tokens", "response_tokens", "flops", "cost")
_COSTS = ("cost", "flops")
"""Measures with a fraction that add up over shards."""


def _add_up(shards: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Sum counts and costs over shards, keep words that all share, and drop rates, which cannot be summed."""
    added: dict[str, Any] = {}
    for key in dict.fromkeys(key for shard in shards for key in shard):
        values = [shard[key] for shard in shards if key in shard]
        if key in _COSTS or all(type(value) is int for value in values):
            added[key] = sum(value or 0 for value in values)
        elif all(isinstance(value, dict) for value in values):
            added[key] = _add_up([value for value in values if isinstance(value, dict)])
        elif not isinstance(values[0], float) and all(value == values[0] for value in values):
            added[key] = values[0]
    return added


def _costs(paths: Paths, benchmark: str) -> dict[str, float]:
    """Price of each model's responses to a benchmark, where its metrics say."""
    files = {model: paths.metrics(f"evaluate-{model}-{benchmark}") for model in ORDER}
    return {model: float(_read_json(file).get("cost") or 0.0) for model, file in files.items() if file.exists()}


def _read_json(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise InputError(f"is not JSON ({error})", file=file, remedy="Run its stage again") from error
    if not isinstance(value, dict):
        raise InputError("is not a JSON object", file=file, remedy="Run its stage again")
    return value
