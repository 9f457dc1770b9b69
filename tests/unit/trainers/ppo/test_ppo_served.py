"""A policy that a server samples: its weights arrive, and a server that keeps old ones, or ends, stops training.

The server is a stand-in with vLLM's routes that computes with the real weights; `make test-vllm` asks the real one.
"""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path

import pytest
import torch

from retort.config.rollouts import VLLMRolloutConfig
from retort.config.training import LoraConfig
from retort.engines.sampler import Sample
from retort.engines.vllm_rollouts import VLLMRollouts
from retort.errors import EngineError, TrainingError
from retort.modeling.lora import with_adapters
from retort.plugins import RolloutContext
from retort.trainers.ppo.canary import Canary
from retort.trainers.ppo.rollout import pad_token, weights_version
from retort.trainers.ppo.served import Served, write_policy
from retort.trainers.ppo.trainer import train

STAND_IN = Path(__file__).parents[3] / "vllm_rollouts_stand_in.py"


@pytest.fixture
def serve(tmp_path, digits_tokenizer):
    """`serve(models, mode="")`: a stand-in samples for the policy; it ends with the test."""
    opened = []

    def serve(models, mode="", *, lora=None, student="ppo"):
        start = tmp_path / "outputs/models/sft"
        if not start.exists():
            models.policy.save_pretrained(start)
            digits_tokenizer.save_pretrained(start)
        models.policy = with_adapters(models.policy, lora)
        context = RolloutContext(
            VLLMRolloutConfig(type="vllm", environment={"MODE": mode, "STATE": str(tmp_path)}),
            folder=start,
            root=tmp_path,
            place="ppo.rollout_engine",
            student=student,
            length=40,
            dtype="float32",
            ends=models.ends,
            adapter_rank=None if lora is None else lora.rank,
        )
        program = (sys.executable, str(STAND_IN))
        rollouts = VLLMRollouts(context, logs=tmp_path / "logs", work=tmp_path / "work", program=program)
        opened.append(rollouts)
        prompts = [prompt.ids for prompt in models.prompts]
        models.served = Served(rollouts, prompts, pad=pad_token(models), place="ppo.rollout_engine")
        return models

    serve.updates = lambda: int((tmp_path / "updates").read_text())
    yield serve
    for rollouts in opened:
        rollouts.close()


@pytest.fixture
def run(tmp_path):
    """`run(models, config, name)`: trains with state and curves in folders of that name."""

    def run(models, config, name="run"):
        state = tmp_path / f"{name}-state"
        state.mkdir(exist_ok=True)
        return train(models, config, "number", seed=0, state_folder=state, curves_folder=tmp_path / f"{name}-curves")

    return run


def likes_sevens(prompt, response, finished):
    return response.count("7") / 6


@pytest.mark.parametrize("lora", [None, LoraConfig(rank=4, alpha=8)])
def test_rewards_rise_with_samples_of_a_server(serve, run, make_models, ppo_config, tmp_path, lora):
    models = serve(make_models(likes_sevens), lora=lora)
    config = ppo_config(
        iterations=8, learning_rate=2e-2, evaluate_every=4, lora=lora, kl={"coefficient": 0.0}, missing_eos_penalty=0.0
    )
    history = run(models, config).history
    rewards = [figures["reward"] for figures in history]
    assert sum(rewards[-3:]) > sum(rewards[:3]) + 0.3
    assert all(figures["sampler_difference"] < 1e-5 for figures in history)
    assert all(figures["canary_difference"] < 1e-5 for figures in history)
    # Once at first, and after each update of the policy: the warm-up's and an agreement's measurement need no other.
    assert serve.updates() == 8
    # Of what was on its way nothing is left, but an adapter that vLLM may read again.
    assert os.listdir(tmp_path / "work") == ([] if lora is None else ["version-8"])
    models.served._rollouts.close()
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(("lora", "rate"), [(None, 5e-6), (LoraConfig(rank=4, alpha=8), 5e-5)])
def test_a_server_that_keeps_old_weights_stops_training(serve, run, make_models, ppo_config, lora, rate):
    models = serve(make_models(likes_sevens), "stale", lora=lora)
    # A step so small that no log-probability moves by as much as rounding may differ.
    config = ppo_config(learning_rate=rate, lora=lora, evaluate_every=10)
    with pytest.raises(TrainingError, match=r"ppo.rollout_engine: the sampler still has old weights.*new server"):
        run(models, config)


def test_a_server_that_keeps_a_part_of_old_weights_stops_training(serve, run, make_models, ppo_config):
    models = serve(make_models(likes_sevens), "head")
    with pytest.raises(TrainingError, match=r"differ from the trainer's by .* on samples that it drew just after"):
        run(models, ppo_config(learning_rate=2e-2))


def test_a_server_that_goes_on_from_what_old_weights_computed_stops_training(serve, run, make_models, ppo_config):
    models = serve(make_models(likes_sevens), "cache")
    with pytest.raises(TrainingError, match=r"differ from the trainer's by .* on samples that it drew just after"):
        run(models, ppo_config(learning_rate=2e-2))


def test_a_server_that_computes_in_another_way_is_found_in_the_rollout(serve, run, make_models, ppo_config, weights):
    models = serve(make_models(likes_sevens), "raw")
    before = weights(models.policy)
    with pytest.raises(TrainingError, match=r"differ from the trainer's by .* on the tokens of a rollout;"):
        run(models, ppo_config(learning_rate=2e-2, temperature=0.7, critic_warmup=0))
    assert torch.equal(weights(models.policy), before)  # nothing was learned from it


def test_a_server_that_ends_in_the_middle_is_told_and_training_goes_on_with_another(
    serve, run, make_models, ppo_config, weights
):
    config = ppo_config(iterations=4)
    whole = serve(make_models(likes_sevens), student="whole")
    run(whole, config, "whole")
    with pytest.raises(EngineError, match=r"vLLM ended with exit code 1\. Its last words[\s\S]*illegal memory access"):
        run(serve(make_models(likes_sevens), "die 60"), config)
    resumed = serve(make_models(likes_sevens), student="again")
    # Of the checkpoint's weights, not of those that the server is started with.
    run(resumed, config)
    assert torch.equal(weights(resumed.policy), weights(whole.policy))


def test_a_server_that_ends_while_it_loads_is_told(serve, make_models):
    models = serve(make_models(likes_sevens), "die-loading 1")
    with pytest.raises(EngineError, match=r"Its last words[\s\S]*Segmentation fault in reload"):
        models.served.follow(models.policy, 0)


def test_an_adapter_is_written_without_those_of_critic_and_reward(digits_model, tmp_path):
    from retort.trainers.ppo.critic import ADAPTER

    policy = with_adapters(digits_model(), LoraConfig(rank=4, alpha=8))
    policy.add_adapter(ADAPTER, policy.peft_config["default"])
    policy.set_adapter("default")
    write_policy(policy, tmp_path / "adapter")
    assert {"adapter_config.json", "adapter_model.safetensors"} <= set(os.listdir(tmp_path / "adapter"))
    assert not [path for path in (tmp_path / "adapter").rglob("*") if path.is_dir()]


def test_weights_are_named_by_the_policys_updates(ppo_config):
    config = ppo_config(critic_warmup=2)
    assert [weights_version(config, number)[0] for number in range(5)] == [0, 0, 0, 1, 2]
    assert weights_version(config, 4, averaged=True) == weights_version(config, 4)
    averaging = ppo_config(critic_warmup=2, average=0.5)
    assert weights_version(averaging, 4, averaged=True) != weights_version(averaging, 4)


# The comparison itself


def drawn(*logprobs, ids=(5, 6)):
    return [Sample(list(ids), list(logprobs), finished=False)]


def test_the_difference_is_the_mean_over_tokens():
    samples = [*drawn(-1.0, -2.0), *drawn(-3.0, -4.0)]
    # (0.0 + 0.1 + 0.1 + 0.0) / 4
    assert Canary(0.1, "here").check_samples(samples, [[-1.0, -2.1], [-2.9, -4.0]]) == pytest.approx(0.05)


def test_a_difference_that_is_not_a_number_is_one():
    with pytest.raises(TrainingError, match="by nan nats"):
        Canary(0.1, "here").check_samples(drawn(math.nan), [[-1.0]])


def test_movements_too_small_to_be_noticed_add_up():
    canary = Canary(0.1, "here")  # noticed from 0.001 on
    canary.check_samples(drawn(-1.0), [[-1.0]])
    canary.check_samples(drawn(-1.0), [[-1.0006]])
    with pytest.raises(TrainingError, match=r"old weights: .* moved by 0.0012 nats a token, the sampler's by 0\b"):
        canary.check_samples(drawn(-1.0), [[-1.0012]])


def test_a_sampler_that_follows_passes():
    canary = Canary(0.1, "here")
    for value in (-1.0, -1.01, -1.3, -2.0):
        assert canary.check_samples(drawn(value + 0.001), [[value]]) == pytest.approx(0.001)
    # Other tokens: nothing to compare with what was before.
    assert canary.check_samples(drawn(-2.0, ids=(7, 8)), [[-2.05]]) == pytest.approx(0.05)


def test_sharded_weights_are_not_served(ppo_config):
    with pytest.raises(ValueError, match="sharding and rollout_engine vllm exclude each other"):
        ppo_config(sharding="full_shard", rollout_engine={"type": "vllm"})


def test_arguments_that_updates_need_are_retorts_own(ppo_config):
    with pytest.raises(ValueError, match="'worker_extension_cls' is given by Retort itself"):
        ppo_config(rollout_engine={"type": "vllm", "args": {"worker_extension_cls": "x"}})
