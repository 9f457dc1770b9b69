"""One update: what it may and may not depend on, and what it refuses."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from retort.trainers.ppo.rollout import rollout
from retort.trainers.ppo.update import NotFiniteError, advantages, leave_one_out, minibatches, update


def one_update(parts, config, optimizers, *, iteration=5, episodes=None, kl_coefficient=0.1):
    episodes = episodes or rollout(parts, config, seed=0, iteration=iteration)
    both = optimizers(parts, config)
    return update(
        parts, episodes, episodes.scores_B, config, both, kl_coefficient=kl_coefficient, seed=0, iteration=iteration
    )


def test_leave_one_out_by_hand():
    # Prompt 1: 1 - (2 + 6) / 2 = -3; 2 - (1 + 6) / 2 = -1.5; 6 - (1 + 2) / 2 = 4.5. Prompt 2: all equal.
    found = leave_one_out(torch.tensor([1.0, 2, 6, 4, 4, 4]), 3)
    assert found.tolist() == [-3, -1.5, 4.5, 0, 0, 0]


def test_with_one_response_there_is_nothing_to_leave_out():
    assert leave_one_out(torch.tensor([1.0, 2]), 1).tolist() == [1, 2]


@pytest.mark.parametrize("size", [1, 3, 8])
def test_micro_batch_size_changes_nothing(make_parts, ppo_config, optimizers, weights, size):
    results = []
    for micro in (None, size):
        parts = make_parts()
        # No clipping of the gradient, which would hide a wrong scale of it, and plain steps, as Adam hides one too.
        config = ppo_config(micro_batch_size=micro, max_grad_norm=1e9)
        plain = dataclasses.replace(
            optimizers(parts, config),
            policy=torch.optim.SGD(parts.policy.parameters(), lr=0.1),
            critic=torch.optim.SGD(parts.critic.parameters(), lr=0.1),
        )
        figures = one_update(parts, config, lambda *_, plain=plain: plain)
        results.append((weights(parts.policy), weights(parts.critic), figures))
    for one, other in zip(results[0][:2], results[1][:2], strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=0)
    assert results[0][2] == pytest.approx(results[1][2], abs=1e-5)


def test_an_update_changes_policy_and_critic_and_nothing_else(make_parts, ppo_config, optimizers, weights):
    parts = make_parts()
    before = [weights(m) for m in (parts.policy, parts.critic, parts.reference, parts.reward)]
    one_update(parts, ppo_config(), optimizers)
    after = [weights(m) for m in (parts.policy, parts.critic, parts.reference, parts.reward)]
    assert [torch.equal(x, y) for x, y in zip(before, after, strict=True)] == [False, False, True, True]


def test_a_minibatch_keeps_the_responses_to_a_prompt_together_and_every_episode_comes_once(ppo_config):
    config = ppo_config(responses_per_prompt=4, prompts_per_iteration=6, minibatch_size=8)
    first, second = (minibatches(24, config, torch.Generator().manual_seed(seed)) for seed in (0, 1))
    assert [len(index) for index in first] == [8, 8, 8]
    assert sorted(torch.cat(first).tolist()) == list(range(24))
    for index in first:
        assert (index.view(2, 4) // 4 == index.view(2, 4)[:, :1] // 4).all()
    assert torch.cat(first).tolist() not in (list(range(24)), torch.cat(second).tolist())


def test_in_the_first_step_the_ratio_is_1(make_parts, ppo_config, optimizers):
    config = ppo_config(minibatch_size=16, epochs=1)
    figures = one_update(make_parts(), config, optimizers)
    assert figures["clipped"] == 0
    assert figures["update_kl"] == pytest.approx(0, abs=1e-6)
    # Whitened advantages have mean 0, and with ratio 1 the loss is minus that.
    assert figures["policy_loss"] == pytest.approx(0, abs=1e-5)
    assert 0 < figures["entropy"] < torch.tensor(14.0).log()


def test_the_kl_figure_is_nats_a_response_and_the_penalty_its_coefficient(make_parts, ppo_config, digits_model):
    parts, config = make_parts(), ppo_config(whiten_advantages=False, lam=1.0)
    parts.policy = digits_model(9)
    episodes = rollout(parts, config, seed=0, iteration=0)
    kl = episodes.logprobs_BT - episodes.reference_BT
    free, priced = (advantages(episodes, episodes.scores_B, config, beta).returns for beta in (0.0, 0.5))
    # With lambda 1 the return of a response's first token is the sum of its rewards.
    first = episodes.batch.response_mask_BT.argmax(dim=1, keepdim=True)
    torch.testing.assert_close((free - priced).gather(1, first).squeeze(1), 0.5 * kl.sum(dim=1))
    torch.testing.assert_close(free.gather(1, first).squeeze(1), episodes.scores_B)


def test_decoupled_lambda_gives_the_critic_monte_carlo_returns(make_parts, ppo_config):
    parts = make_parts()
    torch.nn.init.normal_(parts.critic.to_value.weight)
    config = ppo_config(lam=0.2, critic_lam=1.0, whiten_advantages=False)
    episodes = rollout(parts, config, seed=0, iteration=0)
    found = advantages(episodes, episodes.scores_B, config, 0.0)
    mask = episodes.batch.response_mask_BT.bool()
    # Without discount or penalty every token's Monte Carlo return is the score of its response.
    torch.testing.assert_close(found.returns[mask], episodes.scores_B[:, None].expand(mask.shape)[mask])
    assert not torch.allclose(found.advantages[mask], (found.returns - episodes.values_BT)[mask])


def test_the_prompt_baseline_makes_scores_of_a_prompt_sum_to_0(make_parts, ppo_config):
    config = ppo_config(prompt_baseline=True, whiten_advantages=False, lam=1.0)
    episodes = rollout(make_parts(), config, seed=0, iteration=0)
    found = advantages(episodes, episodes.scores_B, config, 0.0)
    first = episodes.batch.response_mask_BT.argmax(dim=1, keepdim=True)
    sums = found.returns.gather(1, first).view(4, 4).sum(dim=1)
    torch.testing.assert_close(sums, torch.zeros(4), atol=1e-5, rtol=0)


@pytest.mark.parametrize("iteration", [0, 5])
def test_a_reward_that_is_not_a_number_stops_training_and_leaves_the_weights(
    make_parts, ppo_config, optimizers, weights, iteration
):
    parts, config = make_parts(), ppo_config()
    before = weights(parts.policy), weights(parts.critic)
    episodes = rollout(parts, config, seed=0, iteration=iteration)
    broken = dataclasses.replace(episodes, scores_B=torch.full_like(episodes.scores_B, float("nan")))
    with pytest.raises(NotFiniteError) as failure:
        one_update(parts, config, optimizers, iteration=iteration, episodes=broken)
    assert len(failure.value.index) == config.minibatch_size
    assert failure.value.tensors["returns"].isnan().any()
    assert torch.equal(weights(parts.policy), before[0])
    assert torch.equal(weights(parts.critic), before[1])
