"""What a run found, read from the workspace's versioned tables and metrics into one value.

Whatever is missing (a model that was not evaluated, prompts without gold answers, a stage that was left out) is
left out here too; nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from retort.config import RetortConfig
from retort.io.tables import PROMPTS, RESULTS, VOTES, Rows, read_table
from retort.report.alarms import alarms
from retort.report.curves import Curve, read_curves
from retort.report.labels import LabelQuality, summarise_votes
from retort.report.outline import Outline, outline
from retort.report.reward import LearnedReward, summarise_reward, worst
from retort.report.scores import Benchmark, compare_models
from retort.report.stage_metrics import Measured, read_stages
from retort.run.graph import Task
from retort.run.paths import Paths


@dataclass(frozen=True)
class Findings:
    """Everything that the report shows, apart from what is not versioned (wall times, prices, lineage)."""

    title: str
    outline: Outline
    benchmarks: list[Benchmark]
    """The first one is the primary one."""
    labels: LabelQuality | None
    rewards: dict[str, LearnedReward]
    """Every reward that the run trained, in its order."""
    stages: Mapping[str, Measured]
    """Metrics of each group of tasks, in the order of the graph."""
    curves: dict[str, dict[str, Curve]]
    """Curves of each student."""
    results: dict[str, Rows] = field(repr=False)
    """Per-item results of the primary benchmark by model, for samples."""
    prompts: dict[str, str] = field(repr=False)
    """Questions of the primary benchmark by item."""
    alarms: list[str] = field(default_factory=list)
    """Why samples, labels or answers cannot be what they are taken for (`retort.report.alarms`)."""
    unchecked: list[str] = field(default_factory=list)
    """Benchmarks without a file here, so that no prompt was compared with their questions."""
    licence: str | None = None
    """Of the student, as the configuration says it."""
    max_new_tokens: int = 256
    """Tokens that answers to the primary benchmark were given."""

    @property
    def primary(self) -> Benchmark:
        """The benchmark that claims are judged by."""
        return self.benchmarks[0]

    @property
    def final_model(self) -> str:
        """The student that the run hands over; where a gate stopped it, what it would have started from."""
        return self.outline.result

    @property
    def gate_passed(self) -> bool | None:
        """Whether no gate stopped the wanted result or what it comes from; None where none of them has one to pass."""
        line = self.outline.line
        gated = any(student.reward in self.rewards for student in line)
        return not any(student.skipped for student in line) if gated else None

    @property
    def gate_reasons(self) -> list[str]:
        """Why gates stopped them."""
        return [reason for student in self.outline.line for reason in student.reasons]

    def metrics_of(self, group: str) -> Mapping[str, Any]:
        """Metrics of a group of tasks; empty where there are none."""
        return self.stages[group].metrics if group in self.stages else {}


def gather(paths: Paths, config: RetortConfig, report: Task) -> Findings:
    """Read what the run in the workspace left behind.

    Args:
        config: At least what the report task declares.
        report: The report task, which reads everything that is shown.

    Raises:
        InputError: a table of a model and benchmark that the configuration names is missing or malformed.
    """
    stages = read_stages(paths, config, report)
    lines = outline(config, stages)
    results = {
        one.name: {model: read_table(paths.results(model, one.name), RESULTS) for model in lines.order}
        for one in config.evaluate.benchmarks
    }
    votes = read_table(paths.votes, VOTES) if paths.votes.exists() else []
    primary = results[config.evaluate.benchmarks[0].name]
    benchmarks = [
        compare_models(one.name, results[one.name], lines.pairs, one.temperature) for one in config.evaluate.benchmarks
    ]
    labels = summarise_votes(votes) if votes else None
    return Findings(
        title=config.report.title,
        outline=lines,
        benchmarks=benchmarks,
        labels=labels,
        rewards=_rewards(paths, stages, lines, config.report.samples),
        stages=stages,
        curves={name: read_curves(paths.curves(name)) for name in lines.students},
        results=primary,
        prompts={row["item_id"]: row["question"] for rows in primary.values() for row in rows},
        alarms=alarms(lines, stages, labels, benchmarks[0].models, config.report.alarms),
        licence=config.report.license,
        max_new_tokens=config.evaluate.benchmarks[0].max_new_tokens or config.evaluate.max_new_tokens,
        unchecked=[one.name for one in config.evaluate.benchmarks if one.task != "heldout" and not one.data],
    )


def _rewards(paths: Paths, stages: Mapping[str, Measured], lines: Outline, samples: int) -> dict[str, LearnedReward]:
    trained = {
        one.values["reward"]: one.metrics for one in stages.values() if one.stage.trains and "reward" in one.values
    }
    held_out = paths.prompts("validation")
    prompts = {row["prompt_id"]: row["prompt"] for row in read_table(held_out, PROMPTS)} if held_out.exists() else {}
    found = {}
    for name, metrics in trained.items():
        file = paths.reward(name) / "validation.parquet"
        high, low = worst(file, prompts, samples // 3)
        found[name] = LearnedReward(
            name=name,
            words=lines.rewards[name],
            metrics=metrics,
            reliability=summarise_reward(file, list(lines.labels)),
            curves=read_curves(paths.curves(name)),
            worst_high=high,
            worst_low=low,
        )
    return found
