"""The reward model's loss and class weights by hand."""

from __future__ import annotations

from math import exp, log

import pytest
import torch

from retort.rewards.learned.loss import class_weights, every_token_loss, last_token_loss


def cross_entropy(logit, label):
    return log(1 + exp(-logit)) if label else log(1 + exp(logit))


def test_the_last_token_s_loss_is_the_mean_cross_entropy():
    found = last_token_loss(torch.tensor([2.0, -1.0]), torch.tensor([1.0, 1.0]), None)
    assert found.item() == pytest.approx((cross_entropy(2, 1) + cross_entropy(-1, 1)) / 2)


def test_every_token_is_asked_for_its_response_s_label_and_a_long_response_counts_once():
    logits, rows = torch.tensor([0.5, -0.5, 3.0, 1.0]), torch.tensor([0, 1, 1, 1])
    found = every_token_loss(logits, rows, torch.tensor([1.0, 0.0]), None)
    long = (cross_entropy(-0.5, 0) + cross_entropy(3, 0) + cross_entropy(1, 0)) / 3
    assert found.item() == pytest.approx((cross_entropy(0.5, 1) + long) / 2)


def test_with_one_token_a_response_both_losses_are_one():
    logits, labels = torch.tensor([0.3, -2.0, 1.5]), torch.tensor([1.0, 0.0, 0.0])
    for weights in (None, (0.5, 2.0)):
        assert every_token_loss(logits, torch.arange(3), labels, weights).item() == pytest.approx(
            last_token_loss(logits, labels, weights).item()
        )


def test_weights_multiply_the_loss_of_their_label():
    logits, labels = torch.tensor([2.0, -1.0]), torch.tensor([1.0, 0.0])
    found = last_token_loss(logits, labels, (0.5, 4.0))
    assert found.item() == pytest.approx((4 * cross_entropy(2, 1) + 0.5 * cross_entropy(-1, 0)) / 2)
    each = every_token_loss(torch.tensor([2.0, 2.0, -1.0]), torch.tensor([0, 0, 1]), labels, (0.5, 4.0))
    assert each.item() == pytest.approx(found.item())


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("none", None),
        # 1 positive, 3 negatives: each class weighs 2 of 4 in total.
        ("balanced", (2 / 3, 2.0)),
        # w1 = 2 w0 and 3 w0 + w1 = 4: w0 = 0.8.
        (2.0, (0.8, 1.6)),
        (1.0, (1.0, 1.0)),
    ],
)
def test_class_weights_have_mean_one_over_the_training_set(setting, expected):
    found = class_weights(torch.tensor([0.0, 1, 0, 0]), setting)
    assert found == (None if expected is None else pytest.approx(expected))
