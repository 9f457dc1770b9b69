"""A finished run, made by hand: what the stages before `report` leave in a workspace."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from retort.config import RetortConfig, load_config, resolved
from retort.io.files import write_json
from retort.io.tables import PROMPTS, RESULTS, REWARD_PREDICTIONS, VOTES, write_table
from retort.run.graph import Task
from retort.run.paths import Paths
from retort.run.tasks import graph

BASE: dict[str, Any] = {
    "models": {"teacher": {"source": "teacher"}, "base": {"source": "base"}},
    "prompts": {"sources": [{"path": "prompts.jsonl"}], "decontaminate": ["away.jsonl"]},
    "report": {"title": "A run <made> by hand", "samples": 2},
}

SHARES = {
    "teacher": [True] * 14 + [False] * 6,
    "base": [False] * 20,
    "sft": [True] * 15 + [False] * 5,
    "ppo": [False] + [True] * 18 + [False],
}
"""Right answers of each model to 20 items."""


def results(correct: Sequence[bool], *, unread: int = 0) -> list[dict[str, Any]]:
    """One row an item; the last `unread` wrong ones have no readable answer."""
    wrong = [number for number, right in enumerate(correct) if not right]
    unreadable = set(wrong[len(wrong) - unread :])
    return [
        {
            "item_id": f"item-{number}",
            "group_id": f"item-{number}",
            "subtask": "gsm8k",
            "question": "What is 2 & 2?",
            "answer": "4",
            "response": f"<b>2+2</b>={4 if right else 5}",
            "read": None if number in unreadable else ("4" if right else "5"),
            "score": float(right),
            "correct": right,
            "official": right,
            "harness": {"strict-match/exact_match": float(right and number % 2)},
            "finish_reason": "stop",
            "prompt_tokens": 30,
            "response_tokens": 10,
        }
        for number, right in enumerate(correct)
    ]


@pytest.fixture
def item_results() -> Callable[..., list[dict[str, Any]]]:
    """`item_results([True, False], unread=1)`: results by item; see `results`."""
    return results


@pytest.fixture
def finished_run(tmp_path: Path) -> Callable[..., Path]:
    """Make a workspace: `finished_run({"sft": [...], "ppo": [...]}, shut=["learned"])`.

    `models` are the evaluated ones with their right answers, `shut` rewards whose gate is shut, `settings` sections of
    the configuration; metrics of a task, by its address, replace what is made up for it.
    """

    def make(
        models: Mapping[str, Sequence[bool]] | None = None,
        *,
        shut: Sequence[str] = (),
        gold: bool = True,
        benchmarks: int = 1,
        settings: Mapping[str, Any] | None = None,
        metrics: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Path:
        models = models or SHARES
        root = tmp_path / "run"
        root.mkdir(exist_ok=True)
        names = [f"bench{number}" for number in range(benchmarks)]
        rest = [{"name": name, "task": "gsm8k", "data": {"test": "away.jsonl"}} for name in names[1:]]
        evaluate = {"models": list(models), "benchmarks": [{"name": names[0]}, *rest]}
        given = BASE | {"evaluate": evaluate} | dict(settings or {})
        (root / "given.yaml").write_text(yaml.safe_dump(given, sort_keys=False))
        config = load_config(root / "given.yaml", root=root)
        (root / "params.yaml").write_text(yaml.safe_dump(resolved(config), sort_keys=False))
        _leave(Paths(root), config, models, shut=shut, gold=gold)
        for address, values in (metrics or {}).items():
            write_json(Paths(root).metrics(address), dict(values))
        return root

    return make


def _leave(
    paths: Paths, config: RetortConfig, models: Mapping[str, Sequence[bool]], *, shut: Sequence[str], gold: bool
) -> None:
    """Write what the tasks of a run leave, as far as the report reads it."""
    skipped = [name for name in config.students if config.reward_of(name) in shut]
    for benchmark in config.evaluate.benchmarks:
        for model, correct in models.items():
            rows = results(correct, unread=1 if model == "base" else 0)
            write_table(paths.results(model, benchmark.name), rows, RESULTS)
    items = [
        {"prompt_id": f"item-{number}", "prompt": "What is 2 & 2?", "answer": "4", "source": "x", "row": number + 1}
        for number in range(20)
    ]
    write_table(paths.prompts("test"), items, PROMPTS)
    write_table(paths.votes, _votes(gold), VOTES)
    for reward in config.learned_rewards():
        sources = config.reward_settings(reward).responses
        write_table(paths.reward(reward) / "validation.parquet", _predictions(sources, gold), REWARD_PREDICTIONS)
        _curve(paths.curves(reward), "auc", [(50, 0.8), (100, 0.9)])
    for task in graph(config, paths.root):
        for path in task.metrics:
            write_json(paths.root / path, _metrics(task, config, shut=shut, skipped=skipped))
    for student in config.students:
        if student not in skipped:
            for name in config.method(student).curves or ("own/margin",):
                _curve(paths.curves(student), name, [(1, 0.5), (2, 0.75)])


def _votes(gold: bool) -> list[dict[str, Any]]:
    """Ten prompts: four votes of 8/8 (all right), four of 4/8 (half right), two that abstain."""
    rows = []
    for number in range(10):
        share, right = (1.0, True) if number < 4 else (0.5, number < 6) if number < 8 else (0.25, None)
        labelled = number < 8
        rows.append(
            {
                "prompt_id": f"p{number}",
                "label": "4" if labelled else None,
                "votes": int(8 * share),
                "total": 8,
                "share": share,
                "margin": share / 2,
                "abstained": not labelled,
                "answer": "4" if gold else None,
                "correct": right if gold and labelled else None,
            }
        )
    return rows


def _predictions(sources: Sequence[str], gold: bool) -> list[dict[str, Any]]:
    """The part that chose the model scores everything 0.01, which must not be shown."""
    rows = []
    for source in sources:
        for part, score in (("select", 0.01), ("gate", 0.9), ("gate", 0.7), ("gate", 0.2)):
            label = int(score > 0.5)
            truth = bool(label) if gold else None
            rows.append(
                {"prompt_id": "p1", "response": f"= {score}", "source": source, "label": label, "correct": truth}
                | {"score": score, "part": part}
            )
    return rows


def _metrics(task: Task, config: RetortConfig, *, shut: Sequence[str], skipped: Sequence[str]) -> dict[str, Any]:
    """What a task says of itself."""
    stage, values = task.stage.name, task.values
    if stage == "reward":
        quality = {"n": 3, "auc": 0.9, "accuracy": 0.8, "brier": 0.1, "calibration_error": 0.05}
        closed = values["reward"] in shut
        sources = dict.fromkeys(config.reward_settings(values["reward"]).responses, quality)
        reasons = ["AUC 0.600 on held-out prompts is below min_auc 0.75"] if closed else []
        return {"gate_passed": not closed, "gate_reasons": reasons, "by_source": sources, "truth": quality} | quality
    if task.stage.trains:
        if values["student"] in skipped:
            reward = config.reward_of(values["student"])
            reason = f"rewards.{reward}: AUC 0.600 on held-out prompts is below min_auc 0.75"
            return {"skipped": True, "reasons": [reason], "flops": 0.0}
        if stage == "sft":
            return {"steps": 2, "examples": 9, "too_long": 0, "loss": 1.0, "tokens": 500, "flops": 2e9} | (
                {"extra_steps": 7, "capped": False} if config.students[values["student"]].compute_of else {}
            )
        return {"best_iteration": 2, "iterations": 2, "tokens": 1000, "flops": 3e9}
    if stage == "models":
        facts = {name: {"model": f"acme/{name}", "revision": name[0] * 40, "content": None} for name in config.models}
        return {"models": facts, "same_vocabulary": {}}
    answers = {"prompt_tokens": 100, "response_tokens": 300, "flops": 1e9}
    found: dict[str, dict[str, Any]] = {
        "prompts": {"train": 8, "validation": 2, "test": 20},
        "teacher_responses": {"responses": 80, **answers},
        "student_responses": {"responses": 40, **answers},
        "ballots": {"responses": 40, "rules": {"statement": 40}, "not_whole": {}, "not_recorded": 0},
        "reward_examples": {"duplicates": 1, "over_cap": 0, "abstained": 0},
        "votes": {"sample_accuracy": 0.5, "maj_at_k": {"1": 0.5, "8": 0.75}, "pass_at_k": {"1": 0.5, "8": 0.9}},
        "reward_data": {"train": 100},
        "evaluate": {"accuracy": 0.5, **answers},
    }
    return found[stage]


def _curve(folder: Path, name: str, points: list[tuple[int, float]]) -> None:
    file = folder / "plots/metrics" / f"{name}.tsv"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"step\t{name}\n" + "".join(f"{step}\t{value}\n" for step, value in points))
