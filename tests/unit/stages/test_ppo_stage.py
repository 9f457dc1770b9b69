"""Stage `ppo`: the gate is obeyed, the outputs are repeatable, and prompts that cannot serve are refused."""

from __future__ import annotations

import json

import pytest

from retort.errors import InputError
from retort.io import tables
from retort.io.files import content_hash
from retort.modeling.loading import load_model
from retort.run.paths import Paths
from retort.run.stage import run_stage
from tests.conftest import write_prompts

PPO = {"student": "ppo"}


def test_a_student_comes_out_and_the_metrics_say_how(with_reward):
    root = with_reward()
    metrics = run_stage("ppo", PPO, root)
    assert "skipped" not in metrics
    # Two iterations of 4 prompts with 2 responses.
    assert (metrics["iterations"], metrics["episodes"], metrics["stopped_early"]) == (2, 16, False)
    assert metrics["first_agreement"] <= metrics["best_agreement"]
    assert metrics["flops"] > 2 * metrics["tokens"] * 9808
    assert load_model(root / "outputs/models/ppo").config.model_type == "llama"
    steps = (root / "curves/ppo/plots/metrics/reward.tsv").read_text().splitlines()[1:]
    assert [line.split("\t")[0] for line in steps] == ["1", "2"]
    assert not (root / ".retort/state/ppo-ppo").exists()


def test_two_runs_write_the_same_bytes(with_reward):
    hashes = []
    for name in ("one", "two"):
        root = with_reward(name)
        run_stage("ppo", PPO, root)
        hashes.append(
            [content_hash(root / part) for part in ("outputs/models/ppo", "metrics/ppo-ppo.json", "curves/ppo")]
        )
    assert hashes[0] == hashes[1]


def test_when_the_gate_failed_the_sft_student_goes_on_and_the_reason_is_kept(with_reward):
    root = with_reward(passed=False)
    metrics = run_stage("ppo", PPO, root)
    assert (metrics["skipped"], metrics["reasons"]) == (True, ["rewards.learned: AUC 0.500 is below min_auc 0.75"])
    assert metrics["flops"] == 0
    assert content_hash(root / "outputs/models/ppo") == content_hash(root / "outputs/models/sft")
    (table,) = (path for path in (root / "curves/ppo").rglob("*") if path.is_file())
    assert len(table.read_text().splitlines()) == 1  # a head without rows: `dvc plots show` warns of an empty folder


def test_without_a_vote_on_held_out_prompts_there_is_nothing_to_watch(with_reward):
    root = with_reward()
    votes = tables.read_table(Paths(root).votes, tables.VOTES)
    held_out = {f"p{number}" for number in range(12, 20)}
    mute = [row | ({"abstained": True} if row["prompt_id"] in held_out else {}) for row in votes]
    tables.write_table(Paths(root).votes, mute, tables.VOTES)
    with pytest.raises(InputError, match=r"votes\.parquet, field 'label': no held-out prompt has a label.*min_share"):
        run_stage("ppo", PPO, root)
    assert not (root / "outputs/models/ppo").exists()


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_prompt_longer_than_the_context_names_file_and_prompt(with_reward, split):
    root = with_reward()
    file = Paths(root).prompts(split)
    rows = tables.read_table(file, tables.PROMPTS)
    rows[3]["prompt"] = "1 2 3 " * 200
    tables.write_table(file, rows, tables.PROMPTS)
    with pytest.raises(
        InputError, match=rf"{split}\.parquet, field 'prompt': prompt '{rows[3]['prompt_id']}' has .*256"
    ):
        run_stage("ppo", PPO, root)
    assert not (root / "outputs/models/ppo").exists()


def test_lora_gives_a_whole_model_that_loads_without_adapters(with_reward):
    root = with_reward(ppo={"lora": {"rank": 2, "alpha": 4}, "learning_rate": 0.05, "critic_warmup": 0})
    run_stage("ppo", PPO, root)
    names = sorted(file.name for file in (root / "outputs/models/ppo").glob("*.safetensors"))
    assert names == ["model.safetensors"]
    config = json.loads((root / "outputs/models/ppo/config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    keys = load_model(root / "outputs/models/ppo").state_dict().keys()
    assert keys == load_model(root / "outputs/models/sft").state_dict().keys()


def test_gradient_checkpointing_changes_no_number(with_reward):
    results = []
    for name, checkpointing in (("plain", False), ("recomputed", True)):
        root = with_reward(name, ppo={"gradient_checkpointing": checkpointing, "critic_warmup": 0})
        metrics = run_stage("ppo", PPO, root)
        curve = (root / "curves/ppo/plots/metrics/policy_loss.tsv").read_text()
        results.append((metrics["best_agreement"], metrics["tokens"], curve))
    assert results[0] == results[1]


FREE = {"sources": [{"path": "data/prompts.jsonl"}, {"path": "data/free.jsonl", "use": "unlabelled"}]}


def test_episodes_are_of_prompts_that_the_teacher_never_answered_too(with_reward):
    root = with_reward(prompts=FREE, ppo={"iterations": 4})
    write_prompts(Paths(root), "unlabelled", range(20, 24))
    metrics = run_stage("ppo", PPO, root)
    # Four iterations of 4 prompts draw each of 12 + 4 once, two responses to each.
    assert (metrics["prompts"], metrics["episodes"], metrics["unlabelled_episodes"]) == (16, 32, 8)
    before = with_reward("without")
    assert {key: run_stage("ppo", PPO, before)[key] for key in ("prompts", "unlabelled_episodes")} == {
        "prompts": 12,
        "unlabelled_episodes": 0,
    }


def test_an_unlabelled_prompt_too_long_for_the_model_is_named(with_reward):
    root = with_reward(prompts=FREE)
    write_prompts(Paths(root), "unlabelled", range(20, 24))
    file = Paths(root).prompts("unlabelled")
    rows = tables.read_table(file, tables.PROMPTS)
    rows[3]["prompt"] = "1 2 3 " * 200
    tables.write_table(file, rows, tables.PROMPTS)
    with pytest.raises(InputError, match=r"unlabelled\.parquet, field 'prompt': prompt 'p23' has .*256"):
        run_stage("ppo", PPO, root)
