"""The plan of a whole run: arithmetic by hand, what is not known, what is printed."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from retort.errors import ConfigError
from retort.plan import run, sampling, trace, training
from retort.plan.assumptions import count_prompts, rows_of
from retort.plan.devices import DEVICES, find
from retort.plan.trace import Bytes

from .conftest import PROMPT, RESPONSE

TINY = {"batch_size": 4, "max_new_tokens": RESPONSE}


@pytest.fixture
def setting(small):
    """Four prompts of 24 tokens to train on and two to validate on; responses of 40 tokens."""
    ppo = {"iterations": 3, "prompts_per_iteration": 4, "responses_per_prompt": 2, "minibatch_size": 4}
    ppo |= {"critic_warmup": 1, "critic_warmup_epochs": 4, "epochs": 2, "max_new_tokens": RESPONSE}
    on = small.setting(
        prompts={"sources": [{"path": "prompts.jsonl"}], "validation": 2, "test": 5},
        student_responses=TINY | {"temperatures": [0.7, 1.0], "samples": 3},
        sft={"steps": 5, "batch_size": 4},
        reward={"batch_size": 4},
        ppo=ppo,
        evaluate={"models": ["sft"], **TINY},
    )
    return replace(on, assume=replace(on.assume, prompts=4))


def test_flops_are_those_that_the_stages_will_report(setting):
    size = trace.parameters(setting.student)
    assert training.sft(setting).work.flops == 6 * size * 5 * 4 * (PROMPT + RESPONSE)
    # Rollouts of 3 x 8 responses. Forward: policy, reference, critic, reward trunk, judge; training: policy and critic,
    # in one iteration 4 epochs (the critic's warm-up), in two 2 each.
    tokens = 24 * (PROMPT + RESPONSE)
    expected = 2 * 5 * size * tokens + 12 * size * tokens * (4 + 2 + 2) / 3
    assert training.ppo(setting).work.flops == pytest.approx(expected)
    # (4 + 2) prompts, two temperatures, three samples
    assert sampling.student_responses(setting).work.generated == 36 * RESPONSE
    assert sampling.evaluate(setting).work.generated == 5 * RESPONSE


def test_the_equal_compute_baseline_costs_what_sft_and_ppo_cost(setting):
    found = training.sft_equal_compute(setting).work.flops
    assert found == pytest.approx(training.sft(setting).work.flops + training.ppo(setting).work.flops)


def test_a_reward_model_of_adapters_costs_ppo_with_adapters_an_adapter_and_not_a_model(small):
    lora, weights = {"rank": 2, "alpha": 4}, {}
    for name, reward in (("whole", {}), ("adapter", {"lora": lora})):
        on = small.setting(ppo={"lora": lora}, reward=reward)
        weights[name] = training._ppo_weights(training._trained(on.student, on.config.ppo, on.student.dtype), on)
    size = trace.weights(on.student).weights
    assert 0.8 * size < weights["whole"] - weights["adapter"] < size


def test_a_faster_gpu_takes_less_time_and_none_of_it_changes_memory(setting):
    slow, fast = (replace(setting, device=find(name)) for name in ("A100-80", "H100-80"))
    assert training.sft(slow).hours / training.sft(fast).hours == pytest.approx(989 / 312)
    assert training.sft(slow).memory == training.sft(fast).memory


def test_what_depends_on_an_unknown_number_of_prompts_is_unknown(setting, small):
    on = replace(setting, assume=replace(setting.assume, prompts=None))
    assert sampling.student_responses(on).work is None
    assert sampling.student_responses(on).hours is None
    assert training.ppo(on).hours is not None
    assert count_prompts(setting.config, small.root) is None
    (small.root / "prompts.jsonl").write_text('{"prompt": "a"}\n' * 11 + "\n")
    assert rows_of(small.root / "prompts.jsonl") == 11
    assert count_prompts(setting.config, small.root) == 11 - 2 - 5


def test_four_processes_that_shard_hold_a_quarter_each_and_what_a_pass_gathers(small):
    sections = {name: {"sharding": "full_shard", "micro_batch_size": 1} for name in ("sft", "reward", "ppo")}
    one, four = small.setting(**sections), replace(small.setting(**sections), processes=4)
    rest, layer = trace.units(one.student)
    whole, trained = trace.weights(one.student).weights, rest + 3 * layer
    alone, together = training.sft(one).memory, training.sft(four).memory
    assert (alone.weights, alone.gradients, alone.optimizer) == (whole, trained, 2 * trained)
    # Shares; embedding and head, a layer and the next one, and gradients, whole while they are computed with.
    assert together.weights == whole / 4 + rest + 2 * layer
    assert together.gradients == trained / 4 + rest + layer
    assert together.optimizer == trained / 2
    assert together.activations == alone.activations
    # PPO: two copies of the policy are cut up, policy and critic only while they train; the frozen models are not.
    alone, together = training.ppo(one), training.ppo(four)
    assert alone.peak == together.peak == "scoring by the reference"
    assert alone.memory.weights == pytest.approx(6 * whole, rel=1e-3)
    assert together.memory.weights == pytest.approx(4.5 * whole, rel=1e-3)
    assert together.memory.optimizer == alone.memory.optimizer / 4
    assert training.reward(four).memory.optimizer == training.reward(one).memory.optimizer / 4
    # Nothing is cut up where it is not asked for.
    plain = small.setting(sft={"micro_batch_size": 1})
    assert training.sft(replace(plain, processes=4)).memory == training.sft(plain).memory


def test_the_plan_is_printed_with_its_assumptions_and_as_json(setting):
    found = run.plan(setting.config, setting.device, setting.assume, setting.root)
    shown = "\n".join(run.lines(found))
    names = ["sft", "student_responses", "reward", "ppo", "sft_equal_compute", "evaluate"]
    assert [stage.stage for stage in found.stages] == names
    assert all(name in shown for name in [*names, "4 training prompts of 24 tokens", "fits"])
    plain = json.loads(json.dumps(found.as_json()))
    assert plain["fits"]
    assert plain["peak_bytes"] == max(stage["bytes"]["total"] for stage in plain["stages"])
    assert plain["parameters"] == {"student": trace.parameters(setting.student)}


def test_parts_of_a_peak_add_up_to_it():
    assert trace._split(100, gradients=20, logits=50) == Bytes(gradients=20, logits=50, activations=30)
    assert trace._split(60, gradients=20, logits=50).total == 60


def test_the_plan_scores_in_the_batches_that_ppo_scores_in():
    from retort.trainers.ppo.rollout import SCORING_BATCH

    assert training.SCORING_BATCH == SCORING_BATCH


def test_an_unknown_gpu_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"--gpu B200: not known\. Name one of .*H100-80"):
        find("B200")
    assert all(device.bandwidth_tb < device.memory_gb for device in DEVICES.values())
