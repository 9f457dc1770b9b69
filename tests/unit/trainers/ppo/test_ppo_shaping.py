"""Rewards from scores: penalties, normalisation, clipping."""

from __future__ import annotations

import pytest
import torch

from retort.trainers.ppo.shaping import RunningMeanStd, penalised, shaped


def test_penalties_by_hand(ppo_config):
    config = ppo_config(max_new_tokens=10, missing_eos_penalty=0.5, length_penalty=0.2)
    found = penalised(
        torch.tensor([0.9, 0.8, 0.1]), torch.tensor([True, False, True]), torch.tensor([5, 10, 1]), config
    )
    torch.testing.assert_close(found, torch.tensor([0.9 - 0.1, 0.8 - 0.5 - 0.2, 0.1 - 0.02]))


def test_moments_of_parts_are_those_of_the_whole():
    values = torch.randn(100, dtype=torch.float64) * 3 + 7
    moments = RunningMeanStd()
    for part in values.split([1, 39, 60]):
        moments.update(part)
    assert moments.count == 100
    assert moments.mean == pytest.approx(float(values.mean()))
    assert moments.deviation == pytest.approx(float(values.std()))


def test_the_deviation_of_one_value_and_of_two():
    moments = RunningMeanStd()
    moments.update(torch.tensor([3.0]))
    assert moments.deviation == 0
    moments.update(torch.tensor([5.0]))
    assert moments.deviation == pytest.approx(2**0.5)


def test_rewards_are_normalised_by_all_so_far_and_clipped(ppo_config):
    config, moments = ppo_config(normalise_reward=True, reward_clip=1.0), RunningMeanStd()
    # Mean 3, deviation 2.
    torch.testing.assert_close(shaped(torch.tensor([1.0, 3.0, 5.0]), config, moments), torch.tensor([-1.0, 0.0, 1.0]))
    # Of 1, 3, 5, 11: mean 5, deviation sqrt(56 / 3) = 4.3205; 11 lies 1.389 above and is clipped.
    assert shaped(torch.tensor([11.0]), config, moments).tolist() == [1.0]
    found = shaped(torch.tensor([5.0, 6.0]), ppo_config(normalise_reward=True), moments)
    # Of 1, 3, 5, 11, 5, 6: mean 31 / 6, squares 217 - 961 / 6.
    deviation = ((217 - 961 / 6) / 5) ** 0.5
    assert found.tolist() == pytest.approx([(5 - 31 / 6) / deviation, (6 - 31 / 6) / deviation])


def test_rewards_that_are_all_equal_are_only_shifted(ppo_config):
    assert shaped(torch.full((4,), 0.7), ppo_config(normalise_reward=True), RunningMeanStd()).abs().max() < 1e-6


def test_without_settings_rewards_stay_as_they_are(ppo_config):
    rewards, moments = torch.tensor([0.1, 5.0]), RunningMeanStd()
    assert torch.equal(shaped(rewards, ppo_config(), moments), rewards)
    assert moments.count == 2
