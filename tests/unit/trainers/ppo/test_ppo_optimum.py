"""The trainer reaches optima that are known exactly: of one token, and of several by enumerating all responses.

E[r] - beta KL(pi || ref) is greatest at pi(y) = ref(y) exp(r(y) / beta) / Z (Ziegler et al. 2019, eq. 3); for responses
of several tokens the soft values V(s) = beta ln E_ref[exp(r / beta) | s] say what each state is worth then.
"""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import torch

from retort.config.training import KLConfig
from retort.modeling.batch import pad_batch
from retort.modeling.logprobs import token_logprobs
from retort.trainers.ppo import trainer
from retort.trainers.ppo.optimizers import make_optimizers
from retort.trainers.ppo.trainer import PPOState
from retort.trainers.ppo.weights import load_weights, snapshot

EOS, TOKENS = 1, 14


@pytest.fixture
def trained(make_models, ppo_config):
    """`trained(reward, beta, seed, **settings)`: parts whose policy was trained by the trainer's own iterations."""

    def train(reward, beta, seed, **settings):
        models = make_models(
            lambda _prompt, text, finished: reward(text, finished), likelihood_models=(), prompts=("12",)
        )
        config = ppo_config(
            prompts_per_iteration=1,
            missing_eos_penalty=0.0,
            whiten_advantages=False,
            average=0.9,
            kl=KLConfig(coefficient=beta),
            **settings,
        )
        state = PPOState(kl_coefficient=beta, averaged_policy=snapshot(models.policy))
        both = make_optimizers(models, config)
        while state.iteration < config.iterations:
            trainer._iterate(models, config, both, state, seed=seed, state_folder=Path())
        load_weights(models.policy, state.averaged_policy)
        return models

    return train


def distance(one, other):
    """Total variation."""
    return 0.5 * float((one - other).abs().sum())


def next_token(model, prompt):
    with torch.no_grad():
        return model(torch.tensor([prompt])).logits[0, -1].softmax(0).double()


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("beta", [0.15, 0.3, 1.0])
def test_one_token_reaches_the_closed_form(trained, beta, seed):
    def reward(text, _finished):
        return int(text) / 10 if text else 0.2

    models = trained(
        reward,
        beta,
        seed,
        iterations=60,
        responses_per_prompt=512,
        minibatch_size=512,
        generation_batch_size=512,
        max_new_tokens=1,
        learning_rate=1e-2,
        critic_warmup=0,
        prompt_baseline=True,
    )
    prompt = models.prompts[0].ids
    texts = [models.tokenizer.decode([token], skip_special_tokens=True) for token in range(TOKENS)]
    start = next_token(models.reference, prompt)
    weighted = start * torch.tensor([math.exp(reward(text, True) / beta) for text in texts], dtype=torch.float64)
    optimum = weighted / weighted.sum()
    assert distance(start, optimum) > 0.1
    assert distance(next_token(models.policy, prompt), optimum) <= 0.02


def responses(length):
    """Every response of at most `length` tokens: EOS is its last token or it has `length` tokens without one."""
    others = [token for token in range(TOKENS) if token != EOS]
    return [(*body, EOS) for n in range(length) for body in itertools.product(others, repeat=n)] + list(
        itertools.product(others, repeat=length)
    )


def log_probabilities(models, model, listed):
    batch = pad_batch([models.prompts[0].ids] * len(listed), listed, 0)
    with torch.no_grad():
        return token_logprobs(model, batch)[0].double().sum(dim=1)


@pytest.mark.parametrize("beta", [0.3, 0.6])
def test_several_tokens_reach_the_enumerated_optimum_and_the_critic_its_soft_values(trained, beta):
    def reward(text, finished):
        return 0.4 * ("3" in text) + 0.4 * text.startswith("7") + 0.2 * (finished and len(text) == 2)

    models = trained(
        reward,
        beta,
        0,
        iterations=130,
        responses_per_prompt=512,
        minibatch_size=128,
        generation_batch_size=512,
        max_new_tokens=3,
        learning_rate=3e-3,
        critic_learning_rate=1e-2,
        critic_warmup=2,
        lam=0.95,
    )
    listed = responses(3)
    start = log_probabilities(models, models.reference, listed)
    assert float(start.exp().sum()) == pytest.approx(1.0, abs=1e-5)  # they are all there is
    texts = [models.tokenizer.decode(row, skip_special_tokens=True) for row in listed]
    rewards = torch.tensor([reward(text, row[-1] == EOS) for text, row in zip(texts, listed, strict=True)]).double()
    optimum = (start + rewards / beta).softmax(0)
    found = log_probabilities(models, models.policy, listed).exp()
    assert distance(start.exp(), optimum) > 0.15
    assert distance(found, optimum) <= 0.05
    # The critic's value of each first state: nothing said yet, and after the first token.
    firsts = [None, *(models.tokenizer.convert_tokens_to_ids(digit) for digit in "137")]
    batch = pad_batch([models.prompts[0].ids] * 4, [(first or 4, 4) for first in firsts], 0)
    with torch.no_grad():
        values = models.critic(batch, torch.zeros(*batch.ids_BT.shape, 0))
    place = len(models.prompts[0].ids)
    for row, first in enumerate(firsts):
        rows = [i for i, response in enumerate(listed) if first is None or response[0] == first]
        soft = beta * float((start[rows] + rewards[rows] / beta).logsumexp(0) - start[rows].logsumexp(0))
        assert float(values[row, place + (first is not None)]) == pytest.approx(soft, abs=0.06), first
