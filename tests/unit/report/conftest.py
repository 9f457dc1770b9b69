"""A finished run, made by hand: what the stages before `report` leave in a workspace."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from retort.io.files import write_json
from retort.io.tables import PROMPTS, RESULTS, REWARD_PREDICTIONS, VOTES, write_table
from retort.run.paths import Paths

PARAMS = """\
teacher: {{type: transformers, model: teacher}}
student: {{model: base}}
prompts: {{sources: [{{path: prompts.jsonl}}], decontaminate: [away.jsonl]}}
evaluate: {{models: [{models}], benchmarks: [{benchmarks}]}}
report: {{title: A run <made> by hand, samples: 2}}
"""


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
    """Make a workspace: `finished_run(models={"sft": [...], "ppo": [...]}, gate=False)`; shares of 20 items."""

    def make(
        models: dict[str, list[bool]] | None = None, *, gate: bool = True, gold: bool = True, benchmarks: int = 1
    ) -> Path:
        models = models or {
            "teacher": [True] * 14 + [False] * 6,
            "base": [False] * 20,
            "sft": [True] * 15 + [False] * 5,
            "ppo": [False] + [True] * 18 + [False],
        }
        root = tmp_path / "run"
        paths = Paths(root)
        names = [f"bench{number}" for number in range(benchmarks)]
        root.mkdir()
        rest = [f"{{name: {name}, task: gsm8k, data: {{test: away.jsonl}}}}" for name in names[1:]]
        listed = ", ".join([f"{{name: {names[0]}}}", *rest])
        (root / "params.yaml").write_text(PARAMS.format(models=", ".join(models), benchmarks=listed))
        for model, correct in models.items():
            for name in names:
                write_table(paths.results(model, name), results(correct, unread=1 if model == "base" else 0), RESULTS)
        items = [
            {"prompt_id": f"item-{number}", "prompt": "What is 2 & 2?", "answer": "4", "source": "x", "row": number + 1}
            for number in range(20)
        ]
        write_table(paths.prompts("test"), items, PROMPTS)
        write_table(paths.votes, _votes(gold), VOTES)
        write_table(paths.model("reward") / "validation.parquet", _predictions(gold), REWARD_PREDICTIONS)
        _metrics(paths, gate)
        _curve(paths.curves("sft"), "loss", [(1, 2.0), (2, 1.0)])
        if gate:
            _curve(paths.curves("ppo"), "reward", [(1, 0.5), (2, 0.6)])
            _curve(paths.curves("ppo"), "agreement", [(0, 0.7), (2, 0.8)])
        return root

    return make


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


def _predictions(gold: bool) -> list[dict[str, Any]]:
    """Two sources; the part that chose the model scores everything 0.01, which must not be shown."""
    rows = []
    for source in ("teacher", "student"):
        for part, score in (("select", 0.01), ("gate", 0.9), ("gate", 0.7), ("gate", 0.2)):
            label = int(score > 0.5)
            truth = bool(label) if gold else None
            rows.append(
                {"prompt_id": "p1", "source": source, "label": label, "correct": truth, "score": score, "part": part}
            )
    return rows


def _metrics(paths: Paths, gate: bool) -> None:
    quality = {"n": 3, "base_rate": 0.5, "auc": 0.9, "accuracy": 0.8, "brier": 0.1, "calibration_error": 0.05}
    reasons = [] if gate else ["AUC 0.600 on held-out prompts is below min_auc 0.75"]
    found = {
        "prompts": {"train": 8, "validation": 2, "test": 20},
        "models": {
            "teacher": {"model": "acme/big", "revision": "a" * 40, "content": None},
            "student": {"model": "acme/small", "revision": "b" * 40, "content": None},
        },
        "teacher_responses-0": {"responses": 80, "prompt_tokens": 100, "response_tokens": 300, "flops": 1e9},
        "votes": {"sample_accuracy": 0.5, "maj_at_k": {"1": 0.5, "8": 0.75}, "pass_at_k": {"1": 0.5, "8": 0.9}},
        "sft": {"trained": {"tokens": 500, "flops": 2e9, "steps": 2}, "extra_steps": 0},
        "student_responses-0": {"responses": 40, "prompt_tokens": 50, "response_tokens": 150, "flops": 1e8},
        "reward_data": {"train": 100},
        "reward": {"gate_passed": gate, "gate_reasons": reasons, "by_source": {"student": quality}, "truth": quality}
        | quality,
        "ppo": {"skipped": not gate, "best_iteration": 2, "iterations": 2, "tokens": 1000, "flops": 3e9},
        "sft_equal_compute": {"trained": None},
    }
    for name, values in found.items():
        write_json(paths.metrics(name), values)


def _curve(folder: Path, name: str, points: list[tuple[int, float]]) -> None:
    file = folder / "plots/metrics" / f"{name}.tsv"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"step\t{name}\n" + "".join(f"{step}\t{value}\n" for step, value in points))
