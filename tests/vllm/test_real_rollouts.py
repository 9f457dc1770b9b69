"""PPO whose rollouts the real vLLM samples, with a real chat model: it learns, and old weights are found out."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest
import torch

from retort.config.rollouts import VLLMRolloutConfig
from retort.config.training import LoraConfig, PPOConfig
from retort.engines.vllm_rollouts import VLLMRollouts
from retort.errors import EngineError, TrainingError
from retort.modeling.chat import prompt_ids
from retort.modeling.loading import load_model, load_tokenizer
from retort.modeling.turns import end_ids
from retort.plugins import RolloutContext
from retort.trainers.ppo.models import ppo_models
from retort.trainers.ppo.rollout import PPOModels, pad_token
from retort.trainers.ppo.served import Served, write_policy
from retort.trainers.ppo.trainer import train
from retort.trainers.shared.prompts import TrainingPrompt

if "RETORT_VLLM" not in os.environ or "RETORT_SMOLLM2" not in os.environ:
    pytest.skip("the real vLLM: `make test-vllm` installs it (6 GB) and runs these", allow_module_level=True)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

QUESTIONS = ("Say a number.", "How old are you?", "What is 20 + 30?", "Count.", "Which year is it?", "How many?")
LORA = LoraConfig(rank=8, alpha=16)


class Digits:
    """Likes responses of digits."""

    name, flops_per_token = "digits", 0.0

    def score(self, prompts, responses, finished):
        return torch.tensor([sum(map(str.isdigit, text)) / max(len(text), 1) for text in responses])


@pytest.fixture
def make_models(server_settings, tmp_path):
    """`make_models(config)`: everything that PPO works with, and a server beside it that ends with the test."""
    opened = []

    def make(config: PPOConfig, dtype: str = "float32") -> PPOModels:
        start = Path(os.environ["RETORT_SMOLLM2"], "model").absolute()
        tokenizer, base = load_tokenizer(start), load_model(start, dtype=dtype)
        prompts = [TrainingPrompt(text, text, prompt_ids(tokenizer, text), label="7") for text in QUESTIONS]
        policy, critic, reference = ppo_models(start, config, base, tokenizer, Digits())
        models = PPOModels(policy, critic, reference, Digits(), "sft", tokenizer, prompts, prompts[:2])
        context = RolloutContext(
            VLLMRolloutConfig(**server_settings),
            folder=start,
            root=tmp_path,
            place="ppo.rollout_engine",
            student="ppo",
            length=200,
            dtype=dtype,
            ends=end_ids(tokenizer, policy),
            adapter_rank=None if config.lora is None else config.lora.rank,
        )
        rollouts = VLLMRollouts(context, logs=tmp_path / "logs", work=tmp_path / "work")
        opened.append(rollouts)
        models.served = Served(
            rollouts, [prompt.ids for prompt in prompts], pad=pad_token(models), place="ppo.rollout_engine"
        )
        return models

    yield make
    for rollouts in opened:
        rollouts.close()


def config_of(**more) -> PPOConfig:
    plain = {
        "iterations": 8,
        "prompts_per_iteration": 4,
        "responses_per_prompt": 4,
        "minibatch_size": 8,
        "max_new_tokens": 8,
        "learning_rate": 2e-3,
        "critic_warmup": 1,
        "critic_warmup_epochs": 1,
        "evaluate_every": 8,
        "missing_eos_penalty": 0.0,
        "kl": {"coefficient": 0.0},
        "whiten_advantages": True,
        "prompt_baseline": True,
    }
    return PPOConfig(**(plain | more))


def changed(policy, seed: int) -> None:
    """What is trained, moved by a little noise."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in policy.named_parameters():
            if weight.requires_grad and "critic" not in name:
                noise = torch.randn(weight.shape, generator=generator)
                weight.add_(noise * 0.02 * (weight.std() + 0.1 * ("lora" in name)))


@pytest.mark.parametrize(
    ("lora", "dtype"), [(None, "float32"), (LORA, "float32"), (None, "bfloat16"), (LORA, "bfloat16")]
)
def test_updates_arrive_and_old_weights_are_found_out(make_models, tmp_path, lora, dtype):
    models = make_models(config_of(lora=lora), dtype)
    served, policy = models.served, models.policy
    served.follow(policy, 0)
    ids, seeds = [prompt.ids for prompt in models.prompts], list(range(len(QUESTIONS)))
    before = served.respond(ids, seeds, temperature=1.0, max_new_tokens=12)
    found = [served.difference]
    for version in (1, 2, 3):
        changed(policy, version)
        served.follow(policy, version)
        found.append(served.difference)
    print(f"\n{dtype}, {'adapter' if lora else 'all weights'}: differences in nats a token {found}")
    assert max(found) < {"float32": 1e-4, "bfloat16": 0.1}[dtype]
    after = served.respond(ids, seeds, temperature=1.0, max_new_tokens=12)
    assert [one.ids for one in after] != [one.ids for one in before]

    # The plant: the next update brings the weights that it has already.
    write_policy(policy, old := tmp_path / "old")
    load = served._rollouts.load
    served._rollouts.load = lambda _: load(lambda folder: shutil.copytree(old, folder, dirs_exist_ok=True))
    changed(policy, 4)
    with pytest.raises(TrainingError, match=r"ppo.rollout_engine: the sampler.*"):
        served.follow(policy, 4)


def test_rewards_rise_with_adapters_and_a_server_that_is_killed_is_told(make_models, tmp_path):
    config = config_of(lora=LORA)
    models = make_models(config)
    (tmp_path / "state").mkdir()
    folders = {"state_folder": tmp_path / "state", "curves_folder": tmp_path / "curves"}
    state = train(models, config, "number", seed=0, **folders)
    rewards = [figures["reward"] for figures in state.history]
    print("\nrewards", [round(one, 3) for one in rewards])
    print("sampler_difference", [f"{one['sampler_difference']:.1e}" for one in state.history])
    assert sum(rewards[-3:]) / 3 > sum(rewards[:3]) / 3 + 0.15
    assert max(one["sampler_difference"] for one in state.history) < 1e-4
    os.killpg(models.served._rollouts._server.session, signal.SIGKILL)
    with pytest.raises(EngineError, match=r"ended with signal 9[\s\S]*last words"):
        models.served.follow(models.policy, "next")
