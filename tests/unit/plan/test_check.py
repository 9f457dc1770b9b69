"""`retort check` finds, without weights or a cluster, what a run on GPUs would end by."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from retort.cli.app import app
from retort.config import load_config
from retort.plan import check
from retort.plan.assumptions import Assumptions
from retort.plan.devices import find
from retort.plan.setting import Setting, StagePlan
from retort.plan.trace import Bytes
from retort.plan.walk import RunPlan

CONFIGS = Path(__file__).parents[3] / "configs"
LLAMA, QWEN = CONFIGS / "gsm8k-llama-3-8b-to-1b.yaml", CONFIGS / "gsm8k-qwen2.5-7b-to-0.5b.yaml"
ASSUME = Assumptions(120, 240, 0.35, 6973, 0.35, 0.6, 0.025)


def found(config, *changes):
    on = Setting(load_config(config, changes=list(changes)), find("H100-80"), ASSUME, CONFIGS.parent)
    return {one.place: one for one in check.settings(on)}


@pytest.mark.parametrize("config", [LLAMA, QWEN], ids=["llama", "qwen2.5"])
def test_the_gpu_configurations_stumble_over_nothing(config):
    assert found(config) == {}


def test_a_response_that_does_not_fit_the_context_fails_a_run():
    one = found(LLAMA, "teacher_responses.max_new_tokens=7960")["teacher_responses.max_new_tokens"]
    # 240 + 7960 = 8200 of Llama 3's 8192
    assert one.fatal
    assert "240 tokens with 7960 for its response exceeds teacher's context of 8192" in one.problem


def test_what_learns_from_responses_takes_them_whole():
    one = found(LLAMA, "sft.max_length=512")["sft.max_length"]
    assert (one.fatal, "has 752" in one.problem) == (False, True)  # 240 + 512
    assert "has 752" in found(LLAMA, "reward.max_length=700")["reward.max_length"].problem
    longer = found(LLAMA, "ppo.max_new_tokens=640")["ppo.max_new_tokens"]
    assert "student responses of at most 512" in longer.problem


def test_a_gate_that_cannot_pass_and_a_vote_that_cannot_correct_are_found():
    one = found(LLAMA, "prompts.validation=4")["prompts.validation"]  # 2 prompts x 8 responses = 16 < 2 x 10
    assert one.fatal
    assert "are 16 for the gate" in one.problem
    assert "prompts.validation" not in found(LLAMA, "prompts.validation=6")  # 3 x 8 = 24
    assert "over 2 response" in found(LLAMA, "teacher_responses.samples=1")["teacher_responses.samples"].problem


def test_a_stage_that_does_not_fit_is_named():
    device = find("L4-24")
    stage = StagePlan("a training pass", Bytes(weights=int(25e9)), None, None)
    plan = RunPlan(device, ASSUME, {}, {}, {"ppo-ppo": stage, "sft-sft": replace(stage, memory=None)}, [])
    (one,) = check.memory(plan)
    assert (one.place, one.fatal) == ("ppo-ppo", True)
    assert "needs 25.0 GB (a training pass), and L4-24 has 24" in one.problem


def test_the_verb_compiles_plans_and_finds_the_missing_image(tmp_path, monkeypatch):
    planned = RunPlan(find("H100-80"), ASSUME, {}, {}, {}, [])
    monkeypatch.setattr("retort.plan.walk.plan", lambda *_: planned)  # plans are tested where they are made
    for images, code in (({}, 65), ({"generate": "registry/generate:1"}, 0)):
        profile = tmp_path / "profile.yaml"
        profile.write_text(yaml.safe_dump({"images": {"train": "registry/train:1", **images}}))
        done = CliRunner().invoke(app, ["check", str(LLAMA), "--profile", str(profile), "--json"])
        assert done.exit_code == code, done.output
        # That run once ended in its last stage, evaluation of the teacher, for want of vLLM in the image.
        assert ["evaluate-teacher" in one["problem"] for one in json.loads(done.stdout)] == ([True] if code else [])
