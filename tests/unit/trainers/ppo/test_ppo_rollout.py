"""Rollouts: reproducible, with the very log-probabilities and scores that the models give."""

from __future__ import annotations

import pytest
import torch

from retort.modeling.chat import response_ids
from retort.modeling.logprobs import token_logprobs
from retort.rewards.learned.features import prefix_features
from retort.trainers.ppo.rollout import frozen_logprobs, rollout
from retort.trainers.shared.prompts import draw_prompts


def test_the_same_seed_and_iteration_give_the_same_episodes_and_others_give_others(make_models, ppo_config):
    models, config = make_models(), ppo_config()
    once, again = (rollout(models, config, seed=3, iteration=2) for _ in range(2))
    for name in ("sampled_BT", "reference_BT", "features_BTF", "values_BT", "scores_B", "finished_B"):
        assert torch.equal(getattr(once, name), getattr(again, name)), name
    assert torch.equal(once.batch.ids_BT, again.batch.ids_BT)
    for seed, iteration in ((4, 2), (3, 3)):
        other = rollout(models, config, seed=seed, iteration=iteration)
        assert once.sampled_BT.shape != other.sampled_BT.shape or not torch.equal(once.sampled_BT, other.sampled_BT)


def test_torch_s_own_generator_plays_no_part(make_models, ppo_config):
    models, config = make_models(), ppo_config()
    torch.manual_seed(1)
    once = rollout(models, config, seed=3, iteration=2)
    torch.manual_seed(2)
    assert torch.equal(once.sampled_BT, rollout(models, config, seed=3, iteration=2).sampled_BT)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_sampled_logprobs_equal_a_full_forward_pass_at_the_sampling_temperature(make_models, ppo_config, temperature):
    models = make_models()
    found = rollout(models, ppo_config(temperature=temperature), seed=0, iteration=0)
    expected, _ = token_logprobs(models.policy, found.batch, temperature=temperature)
    torch.testing.assert_close(found.sampled_BT, expected.detach(), atol=1e-4, rtol=0)
    # Policy and reference have the same weights here, so their log-probabilities agree too.
    torch.testing.assert_close(found.reference_BT, found.sampled_BT, atol=1e-4, rtol=0)


def test_reference_logprobs_are_those_of_the_reference_and_not_of_the_policy(make_models, ppo_config, digits_model):
    models = make_models()
    models.policy = digits_model(9)
    found = rollout(models, ppo_config(), seed=0, iteration=0)
    expected, _ = token_logprobs(models.reference, found.batch)
    torch.testing.assert_close(found.reference_BT, expected.detach(), atol=1e-5, rtol=0)
    assert (found.reference_BT - found.sampled_BT).abs().max() > 0.1


@pytest.mark.parametrize("likelihood_models", [(), ("sft",), ("sft", "other"), ("other",)])
def test_scores_equal_those_of_the_reward_model_on_the_texts(make_models, ppo_config, likelihood_models):
    models, config = make_models(likelihood_models=likelihood_models), ppo_config()
    found = rollout(models, config, seed=0, iteration=0)
    mask = found.batch.response_mask_BT.bool()
    ids = [row[keep].tolist() for row, keep in zip(found.batch.ids_BT, mask, strict=True)]
    texts = models.tokenizer.batch_decode(ids, skip_special_tokens=True)
    prompts = [p.text for p in draw_prompts(models.prompts, config, seed=0, iteration=0)]
    finished = found.finished_B.tolist()
    expected = models.reward.score(prompts, texts, finished)
    # A special token in the middle of a response is no part of its text, so only the others can be compared.
    whole = [
        row == response_ids(models.tokenizer, text, finished=end)
        for row, text, end in zip(ids, texts, finished, strict=True)
    ]
    assert sum(whole) >= 4
    assert len(set(finished)) == 2
    torch.testing.assert_close(found.scores_B[whole], expected[whole], atol=1e-5, rtol=0)


def test_a_likelihood_model_that_reads_other_tokens_is_not_shared(make_models, ppo_config):
    models = make_models(likelihood_models=("sft", "other"))
    found = rollout(models, ppo_config(), seed=0, iteration=0)
    logprobs = frozen_logprobs(models.reference, found.batch, temperature=1.0)
    expected = prefix_features(logprobs, found.batch.response_mask_BT)
    torch.testing.assert_close(found.features_BTF, expected)


def test_a_critic_without_shared_likelihood_models_has_no_features(make_models, ppo_config):
    found = rollout(make_models(likelihood_models=("other",)), ppo_config(), seed=0, iteration=0)
    assert found.features_BTF.shape == (*found.batch.ids_BT.shape, 0)


def test_values_do_not_depend_on_the_tokens_after_a_state(make_models, ppo_config):
    models = make_models()
    torch.nn.init.normal_(models.critic.to_value.weight)
    found = rollout(models, ppo_config(), seed=0, iteration=0)
    batch = found.batch
    row = int(batch.response_mask_BT.sum(dim=1).argmax())
    last = int(batch.response_mask_BT[row].nonzero().max())
    before = models.critic(batch, found.features_BTF)[row].detach()
    batch.ids_BT[row, last] = (batch.ids_BT[row, last] + 1) % 14
    after = models.critic(batch, found.features_BTF)[row].detach()
    # The value at `last` is that of the state in which its token is chosen, so even it must not see the token.
    torch.testing.assert_close(after, before)
    assert before[last] != 0


def test_prompts_are_drawn_epoch_by_epoch_and_repeated_for_their_responses(make_models, ppo_config):
    models = make_models(prompts=("1", "2", "3", "4", "5"))
    config = ppo_config(prompts_per_iteration=2, responses_per_prompt=4)
    drawn = [p.text for i in range(5) for p in draw_prompts(models.prompts, config, seed=1, iteration=i)]
    assert all(len(set(drawn[start : start + 4])) == 1 for start in range(0, 40, 4))
    # Ten prompts in five iterations are two epochs over the five, in an order of their own each.
    once = drawn[::4]
    assert sorted(once[:5]) == sorted(once[5:]) == ["1", "2", "3", "4", "5"]
    assert once[:5] != once[5:]
