"""Two processes that train together (gloo, on the CPU, through torch's launcher) make what one makes."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch

from retort.modeling.loading import load_model
from retort.run.stage import read_task, run_stage

SETTINGS = {
    "sft": {"steps": 6, "batch_size": 4, "learning_rate": 1e-3},
    "reward": {"steps": 6, "evaluate_steps": 3, "micro_batch_size": 2},
    "ppo": {"iterations": 3, "micro_batch_size": 2, "critic_warmup": 1, "learning_rate": 1e-3},
    "dpo": {"steps": 6, "batch_size": 4, "learning_rate": 1e-3},
    "grpo": {
        "iterations": 3,
        "prompts_per_iteration": 4,
        "responses_per_prompt": 4,
        "max_new_tokens": 8,
        "micro_batch_size": 4,
        "learning_rate": 1e-3,
        "loss": "grpo",
        "keep": "last",
    },
}
STUDENTS = {
    "dpo": {"method": "dpo", "from": "sft"},
    "grpo": {"method": "grpo", "from": "sft", "reward": "digits"},
}
REWARDS = {"digits": {"type": "function", "path": "digits.py:score"}}
DIGITS = "def score(prompts, responses, finished):\n    return [sum(map(str.isdigit, one)) / 4 for one in responses]\n"


VALUES = {
    "sft": {"student": "sft"},
    "reward": {"reward": "learned"},
    "ppo": {"student": "ppo"},
    "dpo": {"student": "dpo"},
    "grpo": {"student": "grpo"},
}


def train_together(stage, root):
    ((key, value),) = VALUES[stage].items()
    command = [
        sys.executable,
        "-m",
        "retort",
        "stage",
        stage,
        f"--{key}",
        value,
        "--workspace",
        str(root),
        "--processes",
        "2",
        "--json",
    ]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=200
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["sft", "reward", "ppo", "dpo", "grpo"])
def test_two_processes_make_what_one_makes(training_root, with_reward, stage):
    make = with_reward if stage == "ppo" else training_root
    changes = {stage: SETTINGS[stage]}
    if stage in STUDENTS:
        changes |= {"students": STUDENTS, "rewards": REWARDS}
        for name in ("alone", "together"):
            training_root.root(name).mkdir()
            (training_root.root(name) / "digits.py").write_text(DIGITS)
    alone, together = make("alone", **changes), make("together", **changes)
    expected = run_stage(stage, VALUES[stage], alone)
    found = train_together(stage, together)
    assert found.keys() == expected.keys()
    task = read_task(stage, VALUES[stage], alone)[0]
    folder = task.outs[0] + ("/trunk" if stage == "reward" else "")
    start = load_model(alone / "outputs/models" / ("base" if stage == "sft" else "sft"))
    one, two = load_model(alone / folder), load_model(together / folder)
    moved = 0.0
    for before, mine, theirs in zip(start.parameters(), one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, atol=2e-5, rtol=1e-4)
        moved = max(moved, float((mine - before).abs().max()))
    # Far more than they differ by; PPO may keep the student that it began with.
    assert moved > 1e-3 or found.get("best_iteration") == 0
    # Curves and figures of the one are those of the other.
    name = {"ppo": "policy_loss", "grpo": "reward"}.get(stage, "loss")
    curves = [
        [
            float(line.split("\t")[1])
            for line in (root / task.plots[0] / f"plots/metrics/{name}.tsv").read_text().splitlines()[1:]
        ]
        for root in (alone, together)
    ]
    assert curves[0] == pytest.approx(curves[1], rel=1e-3, abs=1e-5)
    assert not (together / f".retort/state/{task.address}").exists()


def test_what_is_asked_outside_is_asked_once_and_all_know_the_answer(tmp_path):
    script = tmp_path / "ask.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\nfrom retort.modeling.process_group import process_group\n"
        "me, folder = process_group(), Path(sys.argv[1])\n"
        "def ask():\n    (folder / f'asked-{me.rank}').touch()\n    return ['yes', me.rank]\n"
        "(folder / f'known-{me.rank}').write_text(str(me.from_first(ask)))\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += ["--local_addr", "127.0.0.1", str(script), str(tmp_path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    assert [file.name for file in tmp_path.glob("asked-*")] == ["asked-0"]
    assert {(tmp_path / f"known-{rank}").read_text() for rank in (0, 1)} == {"['yes', 0]"}
