"""Planned peaks against measured ones: the stages' own code on real tensors, every storage counted while it lives."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from retort.modeling.lora import WithoutAdapters
from retort.plan import learned_reward, ppo, sampling, sft, trace
from retort.plan.live import LiveBytes

from .conftest import PROMPT, RESPONSE

LORA = {"rank": 8, "alpha": 16}
WITHIN = 0.16


@pytest.fixture
def live():
    """Counts what is made from here on, and what `hold` is given."""
    logging.getLogger("dvclive").setLevel(logging.ERROR)
    return LiveBytes()


def check(planned, live):
    print(f"planned {planned:,} bytes, measured {live.peak:,}: {planned / live.peak:.3f}")
    assert planned == pytest.approx(live.peak, rel=WITHIN)


def held(live, *modules):
    for module in (one.adapted if isinstance(one, WithoutAdapters) else one for one in modules):
        live.hold([*module.parameters(), *module.buffers()])
    live.forget_peak()


def models(small, config):
    from retort.rewards.learned.features import LikelihoodModel
    from retort.rewards.learned.model import RewardModel
    from retort.trainers.ppo.critic import Critic
    from retort.trainers.ppo.models import ppo_models
    from retort.trainers.ppo.rollout import PPOModels
    from retort.trainers.shared.prompts import TrainingPrompt

    words, reference = small.tokenizer(), small.model()
    policy = small.model()
    reward = RewardModel(small.model(1), words, {"sft": LikelihoodModel(reference, words)}, head_size=8).eval()
    features = int(reward.prefix_features(torch.zeros(1, 1), torch.zeros(1, 1)).shape[2])
    critic = Critic(small.model(), features=features, head_size=8)
    if config.lora:
        policy, critic, reference = ppo_models(Path("sft"), config, policy, words, reward)
    elif config.gradient_checkpointing:
        policy.gradient_checkpointing_enable()
        critic.trunk.gradient_checkpointing_enable()
    texts = [small.prompt(number) for number in range(8)]
    prompts = [TrainingPrompt(f"p{n}", text, words(text).input_ids, label="1") for n, text in enumerate(texts)]
    return PPOModels(policy, critic, reference, reward, "sft", words, prompts, prompts[:2])


@pytest.mark.parametrize(
    "changes",
    [{}, {"micro_batch_size": 4}, {"lora": LORA}, {"gradient_checkpointing": True}],
    ids=["full", "microbatches", "lora", "recomputed"],
)
def test_ppo(small, live, tmp_path, changes):
    from retort.trainers.ppo.trainer import train

    settings = {
        "iterations": 2,
        "prompts_per_iteration": 8,
        "responses_per_prompt": 2,
        "max_new_tokens": RESPONSE,
        "generation_batch_size": 16,
        "minibatch_size": 16,
        "epochs": 1,
        "critic_warmup": 0,
        "critic_head_size": 8,
        "evaluate_every": 2,
        "checkpoint_every": 5,
    }
    on = small.setting(ppo=settings | changes)
    made = models(small, on.config.ppo)
    held(live, made.policy, made.critic, made.reward, made.reward.likelihood_models["sft"].model)
    (tmp_path / "state").mkdir()
    with live:
        train(made, on.config.ppo, "number", seed=0, state_folder=tmp_path / "state", curves_folder=tmp_path / "curves")
    check(ppo.plan(on, "ppo").memory.total, live)


@pytest.mark.parametrize(("rows", "response"), [(32, RESPONSE), (8, 4)], ids=["decoding", "reading prompts"])
def test_sampling(small, live, rows, response):
    from retort.engines.sampler import sample

    on = small.setting(student_responses={"max_new_tokens": response, "batch_size": rows, "samples": 2})
    model, words = small.model(), small.tokenizer()
    prompts = [words(small.prompt(number // 2)).input_ids for number in range(rows)]
    held(live, model)
    with live:
        sample(
            model,
            prompts,
            temperature=1.0,
            max_new_tokens=response,
            eos_token_id=1,
            pad_token_id=0,
            generator=torch.Generator().manual_seed(0),
            batch_size=rows,
        )
    check(sampling.responses(on, "sft", on.config.student_responses).memory.total, live)


@pytest.mark.parametrize("rows", [4, 32])
def test_scoring(small, live, rows):
    from retort.modeling.logprobs import response_logprobs

    on, model = small.setting(), small.model()
    held(live, model)
    with live:
        prompts = [[5 + row] * PROMPT for row in range(rows)]  # of one prompt, they would share it
        response_logprobs(model, prompts, [[6] * RESPONSE] * rows, pad_token_id=0, batch_size=rows)
    found = trace.scoring_pass(on.model("sft"), rows=rows, width=PROMPT + RESPONSE, scored=RESPONSE)
    check(trace.weights(on.model("sft")).weights + found.total, live)


@pytest.mark.parametrize(
    "changes",
    [{}, {"micro_batch_size": 2}, {"lora": LORA}, {"train_trunk": False}],
    ids=["full", "microbatches", "lora", "head alone"],
)
def test_reward(small, live, tmp_path, changes):
    from retort.modeling.lora import with_adapters
    from retort.rewards.learned.examples import prepare
    from retort.rewards.learned.features import LikelihoodModel
    from retort.rewards.learned.model import RewardModel
    from retort.rewards.learned.train import train_reward

    on = small.setting(reward={"steps": 2, "batch_size": 16, "evaluate_steps": 1, "head_size": 8} | changes)
    config, words = on.config.reward, small.tokenizer()
    model = RewardModel(small.model(1), words, {"sft": LikelihoodModel(small.model(), words)}, head_size=8)
    with_adapters(model.trunk, config.lora)
    rows = [
        {"prompt_id": f"p{n}", "prompt": small.prompt(n), "response": " ".join(["w9"] * RESPONSE), "finished": False}
        | {"source": "teacher", "label": n % 2, "correct": None}
        for n in range(64)
    ]
    held(live, model, model.likelihood_models["sft"].model)
    (tmp_path / "state").mkdir()
    with live:
        examples = prepare(model, rows, config.max_length, folder=tmp_path)
        train_reward(
            model, examples, examples, config, seed=0, state=tmp_path / "state", curves_folder=tmp_path / "curves"
        )
    check(learned_reward.plan(on, "learned").memory.total, live)


@pytest.mark.parametrize("changes", [{}, {"lora": LORA}], ids=["full", "lora"])
def test_sft(small, live, tmp_path, changes):
    from dataclasses import replace

    from retort.trainers.sft.examples import Example
    from retort.trainers.sft.train import train_sft

    settings = {"steps": 2, "batch_size": 16, "max_length": 64, "checkpoint_steps": 5}
    on = replace(small.setting(sft=settings | changes), autocast=False)  # on a CPU the trainer does without
    model = small.model()
    model.lm_head.bias = None
    model.save_pretrained(small.root / "student")
    small.tokenizer().save_pretrained(small.root / "student")
    examples = [Example(f"p{n}", small.prompt(n), " ".join(["w9"] * (RESPONSE - 1))) for n in range(16)]
    (tmp_path / "state").mkdir()
    with live:
        train_sft(
            small.root / "student",
            examples,
            on.config.sft,
            seed=0,
            state=tmp_path / "state",
            curves_folder=tmp_path / "curves",
            out=tmp_path / "out",
        )
    check(sft.plan(on, "sft").memory.total, live)
