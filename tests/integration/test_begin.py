"""From an empty folder to a report, as a new user goes: `retort init`, `retort check`, `retort run`."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from retort import demo
from tests.endpoint_stand_in import Body, message, serving, text_of

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]

SMALL = """
extends: mine.yaml
models:
  teacher: {engine: {base_url: URL, model: solver, api_key_env: BEGIN_KEY, prompt_cost: 1.0, response_cost: 2.0}}
  base: {source: models/base}
prompts: {limit: 24, validation: 40, test: 16}
teacher_responses: {samples: 2, max_new_tokens: 48}
sft: {steps: 6, learning_rate: 1.0e-3, max_length: 128, checkpoint_steps: 3}
student_responses: {samples: 2, max_new_tokens: 48}
reward: {steps: 4, max_length: 128, min_auc: 0, max_calibration_error: 1, min_per_class: 0, evaluate_steps: 2}
ppo: {iterations: 1, prompts_per_iteration: 8, responses_per_prompt: 2, minibatch_size: 8, max_new_tokens: 48,
      critic_warmup: 0, evaluate_every: 1, validation_limit: 8}
evaluate: {max_new_tokens: 48}
"""
GAINS = ("buys", "finds", "wins")


def solves(body: Body) -> Body:
    """An answer to a word problem of the embedded task: right in two samples of three."""
    numbers = [int(number) for number in re.findall(r"\d+", text_of(body))]
    verbs = re.findall(r"\. \w+ (\w+)", text_of(body))
    total = numbers[0] if numbers else 0
    for verb, number in zip(verbs, numbers[1:], strict=False):
        total += number if verb in GAINS else -number
    seed = int(body.get("seed", 0))
    if not numbers:
        return message(f"words of draw {seed}")
    return message(f"So {total} . #### {total if seed % 3 else total + 1 + seed % 7}")


def retort(*words: str, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"BEGIN_KEY": "k", "HF_HUB_OFFLINE": "1"}
    shown = subprocess.run(
        [sys.executable, "-m", "retort", *words], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert shown.returncode == code, shown.stderr
    return shown


def test_a_project_with_a_teacher_behind_an_endpoint(tmp_path):
    retort("init", "--from", "endpoint", "p", cwd=tmp_path)
    home = tmp_path / "p"
    shutil.copytree(Path(demo.__file__).parent / "assets/base", home / "models/base")
    (home / "retort.yaml").rename(home / "mine.yaml")
    with serving(say=solves) as server:
        (home / "retort.yaml").write_text(SMALL.replace("URL", server.url))
        before: dict[str, Any] = json.loads(retort("check", "--json", cwd=home).stdout)
        assert (before["ready"], len(server.asked)) == (True, 4)
        # (24 training + 40 validation prompts) x 2 samples x 2 temperatures, and 16 test prompts.
        assert any(fact.startswith("the teacher is asked 272 times") for fact in before["facts"])
        ran = retort("run", cwd=home)
        # Of the run: 4 questions of its check, 4 of its stage's probe, and what was said.
        assert len(server.asked) == 4 + 4 + 4 + 272
        assert "Traceback" not in ran.stderr
        lines = [line.split()[0] for line in ran.stderr.splitlines()]
        assert {"check:", "prompts", "teacher_responses-0", "ppo-ppo", "report"} <= set(lines)
        assert "PPO student" in ran.stdout
        again = retort("run", cwd=home)
        assert again.stderr.splitlines() == [".: nothing has changed since the last run"]
        retort("run", "--config", "retort.yaml", "--name", "try", "--set", "report.title=Other", cwd=home)
        # A named run takes the answers from the project's store; its own check asked four questions.
        assert len(server.asked) == 4 + 4 + 4 + 272 + 4
    metrics = json.loads((home / "metrics/votes.json").read_text())
    assert metrics["accuracy"] > 0.7
    assert (home / "runs/try/outputs/report/metrics.json").exists()
