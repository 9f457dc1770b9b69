"""One update: what it may and may not depend on, and what it refuses."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from retort.trainers.ppo.maths import policy_loss, sampler_weights
from retort.trainers.ppo.rollout import rollout
from retort.trainers.ppo.update import (
    NotFiniteError,
    advantages,
    leave_one_out,
    minibatches,
    old_logprobs,
    update,
)


def one_update(models, config, optimizers, *, iteration=5, episodes=None, kl_coefficient=0.1):
    episodes = episodes or rollout(models, config, seed=0, iteration=iteration)
    both = optimizers(models, config)
    return update(
        models, episodes, episodes.scores_B, config, both, kl_coefficient=kl_coefficient, seed=0, iteration=iteration
    )


def test_leave_one_out_by_hand():
    # Prompt 1: 1 - (2 + 6) / 2 = -3; 2 - (1 + 6) / 2 = -1.5; 6 - (1 + 2) / 2 = 4.5. Prompt 2: all equal.
    found = leave_one_out(torch.tensor([1.0, 2, 6, 4, 4, 4]), 3)
    assert found.tolist() == [-3, -1.5, 4.5, 0, 0, 0]


def test_with_one_response_there_is_nothing_to_leave_out():
    assert leave_one_out(torch.tensor([1.0, 2]), 1).tolist() == [1, 2]


@pytest.mark.parametrize("size", [1, 3, 8])
def test_micro_batch_size_changes_nothing(make_models, ppo_config, optimizers, weights, size):
    results = []
    for micro in (None, size):
        models = make_models()
        # No clipping of the gradient, which would hide a wrong scale of it, and plain steps, as Adam hides one too.
        config = ppo_config(micro_batch_size=micro, max_grad_norm=1e9)
        plain = dataclasses.replace(
            optimizers(models, config),
            policy=torch.optim.SGD(models.policy.parameters(), lr=0.1),
            critic=torch.optim.SGD(models.critic.parameters(), lr=0.1),
        )
        figures = one_update(models, config, lambda *_, plain=plain: plain)
        results.append((weights(models.policy), weights(models.critic), figures))
    for one, other in zip(results[0][:2], results[1][:2], strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=0)
    assert results[0][2] == pytest.approx(results[1][2], abs=1e-5)


def test_an_update_changes_policy_and_critic_and_nothing_else(make_models, ppo_config, optimizers, weights):
    models = make_models()
    before = [weights(m) for m in (models.policy, models.critic, models.reference, models.reward)]
    one_update(models, ppo_config(), optimizers)
    after = [weights(m) for m in (models.policy, models.critic, models.reference, models.reward)]
    assert [torch.equal(x, y) for x, y in zip(before, after, strict=True)] == [False, False, True, True]


def test_a_minibatch_keeps_the_responses_to_a_prompt_together_and_every_episode_comes_once(ppo_config):
    config = ppo_config(responses_per_prompt=4, prompts_per_iteration=6, minibatch_size=8)
    first, second = (minibatches(24, config, torch.Generator().manual_seed(seed)) for seed in (0, 1))
    assert [len(index) for index in first] == [8, 8, 8]
    assert sorted(torch.cat(first).tolist()) == list(range(24))
    for index in first:
        assert (index.view(2, 4) // 4 == index.view(2, 4)[:, :1] // 4).all()
    assert torch.cat(first).tolist() not in (list(range(24)), torch.cat(second).tolist())


def test_in_the_first_step_the_ratio_is_1(make_models, ppo_config, optimizers):
    config = ppo_config(minibatch_size=16, epochs=1)
    figures = one_update(make_models(), config, optimizers)
    assert figures["clipped"] == 0
    assert figures["update_kl"] == pytest.approx(0, abs=1e-6)
    # Whitened advantages have mean 0, and with ratio 1 the loss is minus that.
    assert figures["policy_loss"] == pytest.approx(0, abs=1e-5)
    assert 0 < figures["entropy"] < torch.tensor(14.0).log()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("micro", [None, 2])
def test_in_an_update_of_nothing_every_ratio_is_1_in_every_epoch(
    make_models, ppo_config, optimizers, monkeypatch, dtype, micro
):
    models = make_models()
    models.policy = models.policy.to(dtype)
    config = ppo_config(minibatch_size=4, epochs=3, micro_batch_size=micro)
    seen = []

    def spy(new, old, advantages, mask, **more):
        seen.append(((new - old).detach().exp()[mask.bool()] - 1).abs().max())
        return policy_loss(new, old, advantages, mask, **more)

    monkeypatch.setattr("retort.trainers.ppo.update.policy_loss", spy)
    plain = optimizers(models, config)
    resting = dataclasses.replace(plain, policy=torch.optim.SGD(models.policy.parameters(), lr=0.0))
    episodes = rollout(models, config, seed=0, iteration=5)
    # What a cache rounds in bfloat16 on models of real size, a quarter of the probability.
    noise = torch.rand(episodes.sampled_BT.shape, generator=torch.Generator().manual_seed(1)) - 0.5
    episodes = dataclasses.replace(episodes, sampled_BT=episodes.sampled_BT + 0.5 * noise)
    figures = one_update(models, config, lambda *_: resting, episodes=episodes)
    assert len(seen) == 3 * 4 * (1 if micro is None else 2)
    assert max(seen) < 1e-3
    assert figures["clipped"] == 0
    assert figures["sampler_difference"] == pytest.approx(0.125, abs=0.05)


def test_the_old_log_probabilities_are_the_policy_s_own_over_each_text(make_models, ppo_config):
    models, config = make_models(), ppo_config(minibatch_size=4, temperature=0.7)
    episodes = rollout(models, config, seed=0, iteration=5)
    batches = minibatches(16, config, torch.Generator().manual_seed(3))
    found = old_logprobs(models, episodes, batches, config)
    mask = episodes.batch.response_mask_BT.bool()
    for row in range(16):
        ids = episodes.batch.ids_BT[row : row + 1, : int(episodes.batch.attention_mask_BT[row].sum())]
        logprobs = (models.policy(ids).logits[0, :-1].detach() / 0.7).log_softmax(-1)
        expected = logprobs.gather(1, ids[0, 1:, None]).squeeze(1)[mask[row, 1 : ids.shape[1]]]
        torch.testing.assert_close(found[row][mask[row]], expected, atol=1e-5, rtol=0)
    assert not found[~mask].any()


def test_tokens_that_the_sampler_drew_too_seldom_weigh_more_up_to_the_cap():
    old, sampled = torch.log(torch.tensor([[0.5, 0.4, 0.1, 0.9]])), torch.log(torch.tensor([[0.25, 0.1, 0.2, 0.1]]))
    mask = torch.tensor([[1, 1, 1, 0]])
    # 0.5 / 0.25 = 2; 0.4 / 0.1 = 4, cut to 3; 0.1 / 0.2 = 0.5; not a response's.
    weights = sampler_weights(old, sampled, mask, cap=3.0)
    torch.testing.assert_close(weights, torch.tensor([[2.0, 3.0, 0.5, 1.0]]))
    # With ratio 1 the loss is minus the mean of weight x advantage: -(2 x 1 + 3 x 1 + 0.5 x -2) / 3.
    advantages = torch.tensor([[1.0, 1.0, -2.0, 7.0]])
    loss = policy_loss(old, old, advantages, mask, clip=0.2, weights_BT=weights).loss
    assert float(loss) == pytest.approx(-4 / 3)


def test_a_sampler_that_is_far_off_shows_in_the_figures_and_is_corrected(make_models, ppo_config, optimizers, weights):
    results = []
    for cap in (2.0, None):
        models, config = make_models(), ppo_config(minibatch_size=16, epochs=1, sampler_cap=cap)
        episodes = rollout(models, config, seed=0, iteration=5)
        mask = episodes.batch.response_mask_BT.bool()
        off = torch.where(
            mask, episodes.sampled_BT - torch.rand(mask.shape, generator=torch.Generator().manual_seed(1)), 0
        )
        figures = one_update(models, config, optimizers, episodes=dataclasses.replace(episodes, sampled_BT=off))
        results.append((figures, weights(models.policy)))
    (capped, one), (free, other) = results
    assert capped["sampler_difference"] == free["sampler_difference"] == pytest.approx(0.5, abs=0.15)
    assert 0.1 < capped["sampler_capped"] < 0.6  # a uniform difference is above ln 2 in three cases of ten
    assert free["sampler_capped"] == 0
    assert not torch.allclose(one, other)


def test_the_kl_figure_is_nats_a_response_and_the_penalty_its_coefficient(make_models, ppo_config, digits_model):
    models, config = make_models(), ppo_config(whiten_advantages=False, lam=1.0)
    models.policy = digits_model(9)
    episodes = rollout(models, config, seed=0, iteration=0)
    kl = episodes.sampled_BT - episodes.reference_BT
    free, priced = (
        advantages(episodes, episodes.sampled_BT, episodes.scores_B, config, beta).returns for beta in (0.0, 0.5)
    )
    # With lambda 1 the return of a response's first token is the sum of its rewards.
    first = episodes.batch.response_mask_BT.argmax(dim=1, keepdim=True)
    torch.testing.assert_close((free - priced).gather(1, first).squeeze(1), 0.5 * kl.sum(dim=1))
    torch.testing.assert_close(free.gather(1, first).squeeze(1), episodes.scores_B)


def test_decoupled_lambda_gives_the_critic_monte_carlo_returns(make_models, ppo_config):
    models = make_models()
    torch.nn.init.normal_(models.critic.to_value.weight)
    config = ppo_config(lam=0.2, critic_lam=1.0, whiten_advantages=False)
    episodes = rollout(models, config, seed=0, iteration=0)
    found = advantages(episodes, episodes.sampled_BT, episodes.scores_B, config, 0.0)
    mask = episodes.batch.response_mask_BT.bool()
    # Without discount or penalty every token's Monte Carlo return is the score of its response.
    torch.testing.assert_close(found.returns[mask], episodes.scores_B[:, None].expand(mask.shape)[mask])
    assert not torch.allclose(found.advantages[mask], (found.returns - episodes.values_BT)[mask])


def test_the_prompt_baseline_makes_scores_of_a_prompt_sum_to_0(make_models, ppo_config):
    config = ppo_config(prompt_baseline=True, whiten_advantages=False, lam=1.0)
    episodes = rollout(make_models(), config, seed=0, iteration=0)
    found = advantages(episodes, episodes.sampled_BT, episodes.scores_B, config, 0.0)
    first = episodes.batch.response_mask_BT.argmax(dim=1, keepdim=True)
    sums = found.returns.gather(1, first).view(4, 4).sum(dim=1)
    torch.testing.assert_close(sums, torch.zeros(4), atol=1e-5, rtol=0)


@pytest.mark.parametrize("iteration", [0, 5])
def test_a_reward_that_is_not_a_number_stops_training_and_leaves_the_weights(
    make_models, ppo_config, optimizers, weights, iteration
):
    models, config = make_models(), ppo_config()
    before = weights(models.policy), weights(models.critic)
    episodes = rollout(models, config, seed=0, iteration=iteration)
    broken = dataclasses.replace(episodes, scores_B=torch.full_like(episodes.scores_B, float("nan")))
    with pytest.raises(NotFiniteError) as failure:
        one_update(models, config, optimizers, iteration=iteration, episodes=broken)
    assert len(failure.value.index) == config.minibatch_size
    assert failure.value.tensors["returns"].isnan().any()
    assert torch.equal(weights(models.policy), before[0])
    assert torch.equal(weights(models.critic), before[1])
