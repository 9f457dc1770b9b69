"""Two processes that shard what they train (FSDP; gloo, on the CPU) make what one makes, and go on for each other."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
import yaml
from torch.utils._pytree import keystr, tree_flatten_with_path

from retort.modeling.loading import load_model
from retort.run.stage import run_stage
from retort.trainers.ppo import trainer

# Five examples for two processes, two or one at a time: one process has a pass more than the other.
REWARD = {"steps": 4, "evaluate_steps": 2, "batch_size": 5, "micro_batch_size": 2}
SFT = {"steps": 4, "batch_size": 4, "learning_rate": 1e-3, "checkpoint_steps": 2}
PPO = {"iterations": 3, "prompts_per_iteration": 3, "minibatch_size": 3, "micro_batch_size": 1, "critic_warmup": 1}
PPO |= {"learning_rate": 1e-3, "average": 0.5, "patience": 9}
SHARDED = {"sharding": "full_shard"}
VALUES = {"sft": {"student": "sft"}, "reward": {"reward": "learned"}, "ppo": {"student": "ppo"}}
WORKER = Path(__file__).parents[1] / "sharded_worker.py"


def job(stage, root):
    return {"stage": stage, "values": VALUES[stage], "root": root}


def run_together(*jobs) -> int:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += ["--local_addr", "127.0.0.1", str(WORKER), json.dumps(jobs, default=str)]
    settings = {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=os.environ | settings, timeout=600)
    assert ("SIGKILL" in done.stderr) == any("kill_at" in job for job in jobs), done.stderr[-3000:]
    assert "not resumed from" not in done.stderr
    return done.returncode


def copied(root, name, *, ppo):
    other = root.with_name(name)
    shutil.copytree(root, other)
    settings = yaml.safe_load((root / "params.yaml").read_text())
    settings["ppo"] |= ppo
    (other / "params.yaml").write_text(yaml.safe_dump(settings))
    return other


def checkpoint(root):
    """The newest one of PPO: every tensor of it by its path."""
    files = sorted((root / ".retort/state/ppo-ppo").glob("step-*.pt"))
    assert [file.name for file in files] == ["step-00000001.pt", "step-00000002.pt"]
    payload = torch.load(files[-1], weights_only=False)["payload"]
    state = payload.pop("state")
    payload |= {"averaged": state.averaged_policy, "best": state.best_policy}
    leaves, _ = tree_flatten_with_path(payload)
    return {keystr(path): leaf for path, leaf in leaves if isinstance(leaf, torch.Tensor)}


def figures(root):
    folder = root / "curves/ppo/plots/metrics"
    files = [folder / f"{name}.tsv" for name in ("policy_loss", "value_loss", "kl", "entropy", "gradient_norm")]
    return [float(line.split("\t")[1]) for file in files for line in file.read_text().splitlines()[1:]]


def same(stage, one, two, start):
    folder = "outputs/rewards/learned/trunk" if stage == "reward" else f"outputs/models/{stage}"
    models = [load_model(root / folder) for root in (one, two)]
    before = load_model(one / f"outputs/models/{start}")
    moved = 0.0
    for mine, theirs, was in zip(*(model.parameters() for model in (*models, before)), strict=True):
        torch.testing.assert_close(mine, theirs, atol=2e-5, rtol=1e-4)
        moved = max(moved, float((mine - was).detach().abs().max()))
    assert moved > 1e-3 or stage == "ppo"  # far more than they differ by; PPO keeps the student that it began with
    weights = [(root / folder / "model.safetensors").stat().st_size for root in (one, two)]
    assert weights[0] == weights[1]  # tied weights are written once
    configs = [(root / folder / "config.json").read_text() for root in (one, two)]
    assert configs[0] == configs[1]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_processes_that_shard_make_what_one_makes(training_root, with_reward, monkeypatch, caplog):
    roots = {
        "sft": [training_root("sft-1", sft=SFT), training_root("sft-2", sft=SFT | SHARDED)],
        "reward": [training_root("reward-1", reward=REWARD), training_root("reward-2", reward=REWARD | SHARDED)],
        "ppo": [with_reward("ppo-1", ppo=PPO)],
    }
    for name in ("ppo-2", "ppo-3"):
        roots["ppo"].append(copied(roots["ppo"][0], name, ppo=SHARDED | {"gradient_checkpointing": True}))
    for stage, (alone, *_) in roots.items():
        run_stage(stage, VALUES[stage], alone)
    # One process begins and is stopped, two go on.
    honest = trainer._iterate

    def iterate(*args, **options):
        if args[3].iteration == 2:
            raise KeyboardInterrupt
        return honest(*args, **options)

    monkeypatch.setattr(trainer, "_iterate", iterate)
    with pytest.raises(KeyboardInterrupt):
        run_stage("ppo", VALUES["ppo"], roots["ppo"][1])
    monkeypatch.setattr(trainer, "_iterate", honest)
    stopped = checkpoint(roots["ppo"][1])
    jobs = [job(stage, together) for stage, (_, together, *_) in roots.items()]
    # Two begin and are killed, one goes on.
    killed = roots["ppo"][2]
    assert run_together(*jobs, job("ppo", killed) | {"kill_at": 2}) != 0
    torch.testing.assert_close(checkpoint(killed), stopped, atol=2e-5, rtol=1e-3)
    policy = {name: value for name, value in stopped.items() if name.startswith("['policy']")}
    begun = [stopped[name.replace("policy", "best", 1)] for name in policy]
    assert max((mine - was).abs().max() for mine, was in zip(policy.values(), begun, strict=True)) > 1e-3
    run_stage("ppo", VALUES["ppo"], killed)
    assert "not resumed from" not in caplog.text
    for root in roots["ppo"][1:]:
        assert figures(root) == pytest.approx(figures(roots["ppo"][0]), rel=1e-3, abs=1e-5)

    for stage, (alone, *others) in roots.items():
        for other in others:
            same(stage, alone, other, start="base" if stage == "sft" else "sft")
    counts = {stage: Counter(json.loads((found[1] / "sharded.json").read_text())) for stage, found in roots.items()}
    assert all(count["LlamaDecoderLayer"] == (4 if stage == "ppo" else 2) for stage, count in counts.items())
    assert counts["reward"]["RewardModel"] == counts["ppo"]["Critic"] == 1
    assert counts["sft"]["LlamaForCausalLM"] == counts["ppo"]["LlamaForCausalLM"] == 1
