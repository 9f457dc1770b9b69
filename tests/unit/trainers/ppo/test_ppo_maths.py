"""The formulas of PPO against numbers worked by hand and against what must not matter: padding, cutting, order."""

from __future__ import annotations

import math

import pytest
import torch

from retort.trainers.ppo.maths import (
    adapted_kl_coefficient,
    explained_variance,
    gae,
    kl_estimate,
    last_position,
    masked_mean,
    policy_loss,
    token_rewards,
    value_loss,
    whiten,
)

NAN, INF = float("nan"), float("inf")


def tensor(*rows):
    return torch.tensor(rows, dtype=torch.float64)


# A prompt token, two response tokens, padding.
MASK = tensor([0, 1, 1, 0])


def batch(rows=6, length=9, seed=0):
    """Random tensors new, old, advantages and a mask of consecutive response tokens of varied length."""
    generator = torch.Generator().manual_seed(seed)
    new, old, advantages = (torch.randn(rows, length, generator=generator, dtype=torch.float64) for _ in range(3))
    mask = torch.zeros(rows, length, dtype=torch.float64)
    for row in range(rows):
        mask[row, 1 + row % 3 : 4 + row] = 1
    return 0.3 * new, 0.3 * old, advantages, mask


# --- policy loss -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("advantages", "loss", "clipped"),
    [
        # Ratios 1.5 and 0.5, clip 0.2. min(1.5, 1.2) = 1.2 and min(0.5, 0.8) = 0.5: -(1.2 + 0.5) / 2.
        ((1.0, 1.0), -0.85, 0.5),
        # min(-1.5, -1.2) = -1.5 and min(-0.5, -0.8) = -0.8: -(-1.5 - 0.8) / 2.
        ((-1.0, -1.0), 1.15, 0.5),
        # Both have moved the way their advantage pushes, and are held: -(1.2 - 0.8) / 2.
        ((1.0, -1.0), -0.2, 1.0),
        # Both have moved the other way, and neither is: -(-1.5 + 0.5) / 2.
        ((-1.0, 1.0), 0.5, 0.0),
    ],
)
def test_policy_loss_by_hand(advantages, loss, clipped):
    new = tensor([9, math.log(1.5), math.log(0.5), 9])
    found = policy_loss(new, tensor([0, 0, 0, 0]), tensor([9, *advantages, 9]), MASK, clip=0.2)
    assert found.loss.item() == pytest.approx(loss)
    assert found.clipped.item() == pytest.approx(clipped)
    # k3 with log-ratio log r: r - 1 - log r = 0.5 - 0.405465 and -0.5 + 0.693147; mean 0.143841.
    assert found.kl.item() == pytest.approx(0.143841, abs=1e-6)


def test_on_the_first_step_the_loss_is_minus_the_mean_advantage_and_nothing_is_clipped():
    new, _, advantages, mask = batch()
    found = policy_loss(new, new, advantages, mask, clip=0.2)
    assert found.loss.item() == pytest.approx(-(advantages * mask).sum().item() / mask.sum().item())
    assert (found.clipped.item(), found.kl.item()) == (0, 0)


def test_on_the_first_step_the_gradient_is_that_of_the_policy_gradient_theorem():
    new, _, advantages, mask = batch()
    new.requires_grad_(True)
    policy_loss(new, new.detach(), advantages, mask, clip=0.2).loss.backward()
    torch.testing.assert_close(new.grad, -advantages * mask / mask.sum())


def test_a_ratio_that_the_clip_holds_back_has_no_gradient():
    new = tensor([0, math.log(1.5), math.log(0.5), 0]).requires_grad_(True)
    policy_loss(new, torch.zeros_like(new), torch.ones_like(new), MASK, clip=0.2).loss.backward()
    # The second ratio is 0.5 < 0.8, but a positive advantage asks to raise it: not held back; d(-r A / 2) = -0.25.
    torch.testing.assert_close(new.grad, tensor([0, 0, -0.25, 0]))


# --- what must not matter --------------------------------------------------------------------------------------


def losses(new, old, advantages, mask, total=None):
    """Every loss as one list of scalars."""
    policy = policy_loss(new, old, advantages, mask, clip=0.2, total_tokens=total)
    value = value_loss(new, old, advantages, mask, clip=0.1, total_tokens=total)
    plain = value_loss(new, old, advantages, mask, clip=None, total_tokens=total)
    return [policy.loss, policy.clipped, policy.kl, value, plain]


@pytest.mark.parametrize("junk", [0.0, 1e4, NAN, INF, -INF])
def test_what_stands_where_the_mask_is_0_changes_no_loss_and_no_gradient(junk):
    expected, found = [], []
    for results, fill in ((expected, 0.0), (found, junk)):
        new, old, advantages, mask = batch()
        new, old, advantages = (torch.where(mask.bool(), x, fill) for x in (new, old, advantages))
        new.requires_grad_(True)
        results.extend(loss.item() for loss in losses(new, old, advantages, mask))
        policy_loss(new, old, advantages, mask, clip=0.2).loss.backward()
        value_loss(new, old, advantages, mask, clip=0.1).backward()
        results.extend(new.grad.flatten().tolist())
    assert found == expected


@pytest.mark.parametrize("junk", [1e4, NAN, INF])
def test_what_stands_where_the_mask_is_0_changes_no_reward_advantage_or_figure(junk):
    expected, found = [], []
    for results, fill in ((expected, 0.0), (found, junk)):
        rewards, values, logp, mask = batch()
        rewards, values, logp = (torch.where(mask.bool(), x, fill) for x in (rewards, values, logp))
        kl = kl_estimate(logp, values, mask)
        made = gae(rewards, values, mask, gamma=0.9, lam=0.8)
        scored = token_rewards(torch.arange(6).double(), torch.where(mask.bool(), kl, fill), mask, kl_coefficient=0.1)
        for x in (kl, made.advantages, made.returns, scored, whiten(rewards, mask), whiten(rewards, mask, shift=False)):
            assert bool((x[mask == 0] == 0).all())
            results.extend(x.flatten().tolist())
        results.append(explained_variance(values, rewards, mask))
    assert found == expected


def test_more_padding_changes_nothing():
    parts = batch()
    wider = [torch.nn.functional.pad(x, (2, 5)) for x in parts]
    torch.testing.assert_close(torch.stack(losses(*parts)), torch.stack(losses(*wider)))
    new, old, _, mask = parts
    narrow = gae(new, old, mask, gamma=0.9, lam=0.7).advantages
    wide = gae(wider[0], wider[1], wider[3], gamma=0.9, lam=0.7).advantages
    torch.testing.assert_close(wide[:, 2:-5], narrow)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_microbatches_add_up_to_the_whole_in_value_and_gradient(size):
    new, old, advantages, mask = batch()
    whole = new.clone().requires_grad_(True)
    expected = losses(whole, old, advantages, mask)
    sum(expected).backward()
    parts = new.clone().requires_grad_(True)
    found = torch.zeros(len(expected), dtype=torch.float64)
    for rows in torch.arange(len(new)).split(size):
        shard = losses(parts[rows], old[rows], advantages[rows], mask[rows], mask.sum())
        sum(shard).backward()
        found += torch.stack(shard).detach()
    torch.testing.assert_close(found, torch.stack(expected).detach())
    torch.testing.assert_close(parts.grad, whole.grad)


def test_a_mean_of_unequal_microbatches_without_the_total_is_not_the_mean_of_the_whole():
    # 1 and (3 + 5): mean of the means is (1 + 4) / 2 = 2.5, mean of all is 3; the total of 3 tokens mends it.
    x, mask = tensor([1, 0], [3, 5]), tensor([1, 0], [1, 1])
    assert masked_mean(x, mask).item() == 3
    assert sum(masked_mean(x[i : i + 1], mask[i : i + 1]).item() for i in range(2)) / 2 == 2.5
    assert sum(masked_mean(x[i : i + 1], mask[i : i + 1], 3).item() for i in range(2)) == 3


# --- rewards and advantages ------------------------------------------------------------------------------------


def test_the_score_lands_on_the_last_token_and_the_penalty_on_every_one():
    kl = tensor([7, 0.5, -0.25, 7], [7, 7, 1, 2])
    mask = tensor([0, 1, 1, 0], [0, 0, 1, 1])
    found = token_rewards(tensor(2, -1).squeeze(), kl, mask, kl_coefficient=0.1)
    # Row 1: -0.05; 0.025 + 2. Row 2: -0.1; -0.2 - 1.
    torch.testing.assert_close(found, tensor([0, -0.05, 2.025, 0], [0, 0, -0.1, -1.2]))
    assert last_position(mask).tolist() == [2, 3]


def test_gae_by_hand():
    # Tokens: r = (1, 2), V = (0.5, 0.25), gamma 0.9, lambda 0.8.
    # delta_2 = 2 - 0.25 = 1.75; delta_1 = 1 + 0.9 * 0.25 - 0.5 = 0.725; A_1 = 0.725 + 0.72 * 1.75 = 1.985.
    found = gae(tensor([0, 1, 2, 0]), tensor([9, 0.5, 0.25, 9]), MASK, gamma=0.9, lam=0.8)
    torch.testing.assert_close(found.advantages, tensor([0, 1.985, 1.75, 0]))
    torch.testing.assert_close(found.returns, tensor([0, 2.485, 2.0, 0]))


@pytest.mark.parametrize("gamma", [1.0, 0.9, 0.5])
@pytest.mark.parametrize("lam", [0.0, 0.3, 0.95, 1.0])
def test_gae_equals_the_sum_of_its_definition(gamma, lam):
    rewards, values, _, mask = batch(seed=1)
    found = gae(rewards, values, mask, gamma=gamma, lam=lam)
    for row in range(len(mask)):
        places = mask[row].nonzero().flatten().tolist()
        r, v = rewards[row, places].tolist(), [*values[row, places].tolist(), 0.0]
        for t, place in enumerate(places):
            # GAE, eq. 16: sum over l of (gamma lambda)^l (r_{t+l} + gamma V_{t+l+1} - V_{t+l}).
            deltas = [(gamma * lam) ** (k - t) * (r[k] + gamma * v[k + 1] - v[k]) for k in range(t, len(r))]
            assert found.advantages[row, place].item() == pytest.approx(sum(deltas))


def test_lambda_1_is_monte_carlo_and_lambda_0_is_one_step_td():
    rewards, values, _, mask = batch(seed=2)
    monte_carlo = gae(rewards, values, mask, gamma=0.9, lam=1.0)
    one_step = gae(rewards, values, mask, gamma=0.9, lam=0.0)
    for row in range(len(mask)):
        places = mask[row].nonzero().flatten().tolist()
        for t, place in enumerate(places):
            future = sum(0.9**k * rewards[row, later].item() for k, later in enumerate(places[t:]))
            after = values[row, places[t + 1]].item() if t + 1 < len(places) else 0.0
            assert monte_carlo.returns[row, place].item() == pytest.approx(future)
            assert one_step.returns[row, place].item() == pytest.approx(rewards[row, place].item() + 0.9 * after)


def test_whitened_values_have_mean_0_and_variance_1():
    # Values 1, 2, 3 that count: mean 2, variance (1 + 0 + 1) / 2 = 1.
    x, mask = tensor([9, 1, 2, 3]), tensor([0, 1, 1, 1])
    torch.testing.assert_close(whiten(x, mask), tensor([0, -1, 0, 1]))
    torch.testing.assert_close(whiten(2 * x, mask, shift=False), tensor([0, 3, 4, 5]))


def test_equal_values_are_whitened_to_0_and_not_to_infinity():
    mask = tensor([0, 1, 1, 1])
    assert whiten(3 * mask, mask).tolist() == [[0, 0, 0, 0]]
    assert whiten(tensor([0, 3, 0, 0]), tensor([0, 1, 0, 0])).tolist() == [[0, 0, 0, 0]]


# --- critic ----------------------------------------------------------------------------------------------------


def test_value_loss_by_hand():
    new, old, returns = tensor([9, 2, 0, 9]), tensor([0, 1, 0.1, 0]), tensor([0, 3, 1, 0])
    # Errors (2 - 3)^2 = 1 and (0 - 1)^2 = 1: half the mean is 0.5.
    assert value_loss(new, old, returns, MASK, clip=None).item() == pytest.approx(0.5)
    # Clipped to 1 + 0.5 = 1.5: (1.5 - 3)^2 = 2.25 > 1. Clipped to 0.1 - 0.1 = 0 (inside 0.5): 1. 0.5 * 3.25 / 2.
    assert value_loss(new, old, returns, MASK, clip=0.5).item() == pytest.approx(0.8125)


def test_a_value_beyond_the_clip_that_moved_towards_its_return_has_no_gradient():
    new = tensor([0, 2, 0, 0]).requires_grad_(True)
    value_loss(new, tensor([0, 1, 0.1, 0]), tensor([0, 3, 1, 0]), MASK, clip=0.5).backward()
    # Only the second token moves: d/dv of 0.5 * (v - 1)^2 / 2 at v = 0 is -0.5.
    torch.testing.assert_close(new.grad, tensor([0, 0, -0.5, 0]))


def test_explained_variance_of_a_perfect_a_constant_and_a_wrong_critic():
    returns = tensor([7, 1, 2, 3])
    mask = tensor([0, 1, 1, 1])
    assert explained_variance(returns, returns, mask) == 1
    assert explained_variance(torch.full_like(returns, 5), returns, mask) == pytest.approx(0)
    # Values are the returns backwards: errors (-2, 0, 2), variance 8/3 against 2/3: 1 - 4.
    assert explained_variance(tensor([7, 3, 2, 1]), returns, mask) == pytest.approx(-3)
    # Errors (0, 1, 1), variance 2/9 against 2/3.
    assert explained_variance(tensor([7, 1, 1, 2]), returns, mask) == pytest.approx(2 / 3)
    assert explained_variance(returns, torch.ones_like(returns), mask) == 0


# --- KL --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("estimator", "value"),
    [("k1", math.log(2)), ("k2", math.log(2) ** 2 / 2), ("k3", 0.5 - 1 + math.log(2))],
)
def test_kl_estimators_by_hand(estimator, value):
    # The policy finds the token twice as likely as the reference: d = log 2, exp(-d) = 0.5.
    found = kl_estimate(tensor([0, -1, -1, 0]), tensor([0, -1 - math.log(2), -1, 5]), MASK, estimator=estimator)
    torch.testing.assert_close(found, tensor([0, value, 0, 0]))


def test_expected_kl_estimates_equal_the_kl_of_two_known_distributions():
    p, q = torch.tensor([0.5, 0.3, 0.2]).double(), torch.tensor([0.2, 0.5, 0.3]).double()
    exact = (p * (p / q).log()).sum()
    everywhere = torch.ones(1, 3)
    for estimator in ("k1", "k3"):
        estimate = kl_estimate(p.log()[None], q.log()[None], everywhere, estimator=estimator)
        torch.testing.assert_close((p * estimate[0]).sum(), exact)


def test_an_unknown_estimator_is_refused():
    with pytest.raises(ValueError, match="no KL estimator 'k4'; known: k1, k2, k3"):
        kl_estimate(MASK, MASK, MASK, estimator="k4")


@pytest.mark.parametrize(
    ("kl", "coefficient"),
    [
        (6.0, 0.1),  # on target
        (6.6, 0.1 * (1 + 0.1 * 256 / 1000)),  # 10 % above: error 0.1
        (60.0, 0.1 * (1 + 0.2 * 256 / 1000)),  # error bounded by 0.2
        (0.0, 0.1 * (1 - 0.2 * 256 / 1000)),  # and by -0.2
    ],
)
def test_the_adaptive_controller_by_hand(kl, coefficient):
    found = adapted_kl_coefficient(0.1, kl, target=6.0, horizon=1000, episodes=256)
    assert found == pytest.approx(coefficient)


@pytest.mark.parametrize(("new", "near"), [(0.0, 0.8), (2.0, 1.2)])
def test_a_value_that_moved_past_the_clip_is_measured_at_its_edge_on_either_side(new, near):
    # Old value 1, clip 0.2; the return is what the critic says now, so that only the edge is wrong.
    one = torch.ones(1, 1)
    found = value_loss(new * one, one, new * one, one, clip=0.2)
    assert float(found) == pytest.approx(0.5 * (near - new) ** 2)


def test_whitening_by_hand_with_values_on_both_sides_of_zero():
    # Mean 1, squared distances 4, 1, 0 and 9, divided by 3.
    found = whiten(torch.tensor([[-1.0, 0.0, 1.0, 4.0]]), torch.ones(1, 4))
    torch.testing.assert_close(found, torch.tensor([[-2.0, -1.0, 0.0, 3.0]]) / (14 / 3) ** 0.5)
