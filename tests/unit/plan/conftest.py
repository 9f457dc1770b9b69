"""A model small enough to train here and large enough that its tensors outweigh everything else."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from bench.ppo_work import Work, language_model, llama_config, tokenizer
from retort import plugins
from retort.config.run import RetortConfig
from retort.plan.assumptions import Assumptions
from retort.plan.devices import find
from retort.plan.setting import Setting

PROMPT, RESPONSE = 24, 40


@dataclass
class Small:
    """Hardly a response ends before its limit, so that sequences are as long as the plan says."""

    root: Path
    work: Work

    def model(self, seed: int = 0) -> Any:
        return language_model(self.work, seed)

    def smaller(self, name: str, hidden: int) -> dict[str, Any]:
        """Another base, as an entry of `models`."""
        llama_config(replace(self.work, hidden=hidden)).save_pretrained(self.root / name)
        return {"source": name}

    def tokenizer(self) -> Any:
        return tokenizer(self.work)

    def prompt(self, number: int) -> str:
        return " ".join(f"w{2 + (7 * number + place) % 1000}" for place in range(PROMPT))

    def setting(self, **sections: Any) -> Setting:
        plain = {
            "models": {
                "teacher": {"engine": {"type": "recorded", "path": "unused.jsonl"}},
                "base": {"source": "student"},
            },
            "prompts": {"sources": [{"path": "unused.jsonl"}]},
            "evaluate": {"models": ["sft"]},
            "teacher_responses": {"max_new_tokens": RESPONSE},
            "student_responses": {"max_new_tokens": RESPONSE},
        }
        with plugins.at(self.root):
            config = RetortConfig.model_validate(plain | sections)
        assume = Assumptions(PROMPT, PROMPT, 1.0, 10, 0.35, 0.6, 0.025)
        return Setting(config, find("H100-80"), assume, self.root)


@pytest.fixture
def small(tmp_path: Path) -> Small:
    work = Work(vocabulary=1024, hidden=96, layers=3, mean_response=250.0)
    llama_config(work).save_pretrained(tmp_path / "student")
    return Small(tmp_path, work)
