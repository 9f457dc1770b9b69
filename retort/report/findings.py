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
from retort.config.data import BenchmarkConfig
from retort.errors import InputError
from retort.evaluation.benchmarks import load_questions
from retort.evaluation.statistics import paired_difference, wilson_interval
from retort.graph import BY_NAME, tasks
from retort.paths import Paths
from retort.report.curves import Curve, read_curves
from retort.report.labels import Labels, summarise_votes
from retort.report.reward import Reliability, summarise_reward
from retort.tables import PROMPTS, RESULTS, VOTES, Rows, read_table

PAIRS = {
    "ppo_minus_sft": ("ppo", "sft"),
    "ppo_minus_teacher": ("ppo", "teacher"),
    "ppo_minus_sft_equal_compute": ("ppo", "sft_equal_compute"),
    "sft_minus_teacher": ("sft", "teacher"),
    "sft_minus_base": ("sft", "base"),
}
"""Paired comparisons of the report: the second model's results are taken from the first one's."""

ORDER = ("teacher", "base", "sft", "ppo", "sft_equal_compute")
"""Models as the tables list them."""


@dataclass(frozen=True)
class Score:
    """One model on one benchmark; shares are between 0 and 1."""

    accuracy: float
    low: float
    """Lower end of the 95 % Wilson interval."""
    high: float
    """Its upper end."""
    n: int
    official_accuracy: float
    """By the benchmark's own published rule."""
    unparsed_rate: float
    """Share of responses from which no answer could be read."""
    cut_off_rate: float
    """Share of responses that reached the token limit."""
    mean_response_tokens: float


@dataclass(frozen=True)
class Paired:
    """Difference of two models' accuracy on the same items, with its 95 % interval."""

    difference: float
    low: float
    high: float
    n: int

    @property
    def verdict(self) -> str:
        """`above` or `below` zero when the whole interval is, else `open`."""
        return "above" if self.low > 0 else "below" if self.high < 0 else "open"


@dataclass(frozen=True)
class Benchmark:
    """All models on one benchmark."""

    name: str
    models: dict[str, Score]
    paired: dict[str, Paired]
    temperature: float = 0.0
    """Temperature of the answers; 0 is greedy."""


@dataclass(frozen=True)
class Findings:
    """Everything that the report shows, apart from what is not versioned (wall times, lineage)."""

    title: str
    benchmarks: list[Benchmark]
    """The first one is the primary one."""
    labels: Labels | None
    reliability: Reliability | None
    stages: dict[str, dict[str, Any]]
    """Metrics of each stage; those of a sharded stage summed over shards where they are counts."""
    curves: dict[str, dict[str, Curve]]
    """Curves of `sft` and `ppo`."""
    results: dict[str, Rows] = field(repr=False)
    """Per-item results of the primary benchmark by model, for samples."""
    prompts: dict[str, str] = field(repr=False)
    """Questions of the primary benchmark by item."""

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
        benchmarks=[_compare(one.name, results[one.name], one.temperature) for one in config.evaluate.benchmarks],
        labels=summarise_votes(votes) if votes else None,
        reliability=summarise_reward(paths.model("reward") / "validation.parquet"),
        stages=_stage_metrics(paths, config),
        curves={stage: read_curves(paths.curves(stage)) for stage in ("sft", "ppo")},
        results=results[names[0]],
        prompts=_prompt_texts(paths, config.evaluate.benchmarks[0]),
    )


def score(rows: Rows) -> Score:
    """Accuracy with its interval, and how many responses could not be read."""
    n = len(rows)
    right = sum(row["correct"] for row in rows)
    low, high = wilson_interval(right, n)
    return Score(
        accuracy=right / n,
        low=low,
        high=high,
        n=n,
        official_accuracy=sum(row["official"] for row in rows) / n,
        unparsed_rate=sum(row["read"] is None for row in rows) / n,
        cut_off_rate=sum(row["finish_reason"] == "length" for row in rows) / n,
        mean_response_tokens=sum(row["response_tokens"] for row in rows) / n,
    )


def pair(first: Rows, second: Rows) -> Paired:
    """Difference of accuracy over the items that both models answered, clustered by their group."""
    other = {row["item_id"]: row for row in second}
    shared = [row for row in first if row["item_id"] in other]
    found = paired_difference(
        [float(row["correct"]) for row in shared],
        [float(other[row["item_id"]]["correct"]) for row in shared],
        [row["group_id"] for row in shared],
    )
    return Paired(found.difference, found.low, found.high, found.n)


def _compare(name: str, results: dict[str, Rows], temperature: float) -> Benchmark:
    filled = {model: rows for model, rows in results.items() if rows}
    return Benchmark(
        name,
        {model: score(rows) for model, rows in filled.items()},
        {
            words: pair(filled[first], filled[second])
            for words, (first, second) in PAIRS.items()
            if first in filled and second in filled
        },
        temperature,
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


def _prompt_texts(paths: Paths, benchmark: BenchmarkConfig) -> dict[str, str]:
    """Questions of a benchmark by item; none where its file is elsewhere, as in a pod: only the page shows them."""
    if benchmark.task == "heldout":
        file = paths.prompts("test")
        return {row["prompt_id"]: row["prompt"] for row in read_table(file, PROMPTS)} if file.exists() else {}
    if benchmark.path is None or not (paths.root / benchmark.path).exists():
        return {}
    questions = load_questions(benchmark, paths.root, paths.prompts("test"))
    return {question.item_id: question.prompt for question in questions}


def _read_json(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise InputError(f"is not JSON ({error})", file=file, remedy="Run its stage again") from error
    if not isinstance(value, dict):
        raise InputError("is not a JSON object", file=file, remedy="Run its stage again")
    return value
