"""A run whose student can be handed over: a tiny model with weights, a report, and a card."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from retort.config import load_config, resolved
from retort.handover.student import Student, student_of
from retort.io.files import write_json, write_text
from retort.run.paths import Paths
from retort.run.record import Record, write_record

CARD = """\
---
license: apache-2.0
library_name: transformers
model-index:
- name: A run
  results:
  - task: {type: text-generation}
    dataset: {name: heldout, type: heldout}
    metrics: [{type: accuracy, value: 0.9}]
---
# A run
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that runs lie in."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("RETORT_REGISTRY", raising=False)
    return folder


@pytest.fixture
def run(home: Path, tiny_model: Callable[..., Any], tiny_tokenizer: Any) -> Callable[..., Student]:
    """`run("first", low=0.1)`: a run; `low` is the lower end of its student's gain over the base, `seed` of weights."""

    def make(name: str = "first", *, low: float = 0.1, seed: int = 0) -> Student:
        paths = Paths(home / "runs" / name)
        for model, number in (("ppo", seed), ("base", 7)):
            tiny_model(seed=number, ends=7.0).save_pretrained(paths.model(model))
            tiny_tokenizer.save_pretrained(paths.model(model))
        given = {
            "models": {"teacher": {"source": "teacher"}, "base": {"source": "base"}},
            "prompts": {"sources": [{"path": "prompts.jsonl"}]},
        }
        write_text(paths.root / "given.yaml", yaml.safe_dump(given))
        config = load_config(paths.root / "given.yaml", root=paths.root)
        write_text(paths.root / "params.yaml", yaml.safe_dump(resolved(config), sort_keys=False))
        write_text(paths.root / "dvc.yaml", "stages: {}\n")
        pair = {"difference": low + 0.1, "low": low, "high": low + 0.2}
        report = {
            "final_model": "ppo",
            "base": "base",
            "benchmark": "heldout",
            "names": {"ppo": "PPO student"},
            "paired": {"ppo_minus_base": pair},
            "stages": {"models": {"models": {"teacher": {"model": "acme/teacher"}, "base": {"model": "acme/base"}}}},
        }
        write_json(paths.report / "metrics.json", report)
        write_json(paths.summary, {"accuracy": 0.9, "minus_base": low + 0.1, "items": 200})
        write_text(paths.report / "model_card.md", CARD)
        write_record(paths.root, Record("2026-01-02T03:04:05+00:00", state="succeeded", who="ada@box", commit="abc12"))
        return student_of(paths.root)

    return make
