"""Intervals and tests against published or hand-computed numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from retort.evaluation.statistics import (
    clustered_error,
    mcnemar_exact,
    mean_interval,
    minimum_detectable_difference,
    paired_difference,
    sign_flip_test,
    wilson_interval,
)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_interval_equals_newcombe_1998_table_1_method_3(successes, n, low, high):
    assert wilson_interval(successes, n) == pytest.approx((low, high), abs=5e-5)


def test_wilson_interval_ends_exactly_at_0_and_1():
    assert wilson_interval(0, 7)[0] == 0.0
    assert wilson_interval(7, 7)[1] == 1.0


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_what_is_no_proportion_is_refused(successes, n):
    with pytest.raises(ValueError, match="no proportion"):
        wilson_interval(successes, n)


def test_paired_difference_has_the_standard_error_of_the_paired_differences():
    # 1,000 items: 80 only a, 40 only b. Mean (80 - 40)/1000 = 0.04; variance 0.12 - 0.0016 = 0.1184;
    # standard error sqrt(0.1184 / 1000) = 0.010881; 0.04 +- 1.96 x 0.010881 = 0.0187 to 0.0613.
    a, b = [1] * 80 + [0] * 40 + [1] * 880, [0] * 80 + [1] * 40 + [1] * 880
    found = paired_difference(a, b)
    assert found.difference == pytest.approx(0.04)
    assert (found.low, found.high) == pytest.approx((0.0187, 0.0613), abs=0.0015)
    assert (found.n, found.groups) == (1000, 1000)


def test_paired_difference_changes_sign_with_its_arguments():
    a, b = [1, 1, 1, 0, 0], [0, 1, 0, 0, 1]
    one, other = paired_difference(a, b), paired_difference(b, a)
    assert one.difference == pytest.approx(0.2)
    assert other.difference == pytest.approx(-0.2)


def test_copies_of_an_item_in_its_group_add_no_evidence():
    chance = np.random.default_rng(0)
    a, b = (chance.random(200) < 0.6).tolist(), (chance.random(200) < 0.5).tolist()
    once = paired_difference(a, b)
    eight = paired_difference(a * 8, b * 8, list(range(200)) * 8)
    apart = paired_difference(a * 8, b * 8)
    assert eight.groups == 200
    assert (eight.difference, eight.low, eight.high) == pytest.approx((once.difference, once.low, once.high), abs=0.005)
    # Without groups the same copies would shrink the interval by sqrt(8).
    assert (once.high - once.low) / (apart.high - apart.low) == pytest.approx(math.sqrt(8), rel=0.1)


def test_groups_of_different_size_weigh_by_their_items():
    # One group of 3 with differences 1, one group of 1 with difference 0: the mean is 3/4, resamples are 0, 3/4 or 1.
    found = paired_difference([1, 1, 1, 0], [0, 0, 0, 0], ["x", "x", "x", "y"])
    assert found.difference == pytest.approx(0.75)
    assert (found.low, found.high) == (0.0, 1.0)


def test_the_interval_covers_the_truth_about_95_times_in_100():
    chance = np.random.default_rng(1)
    covered = 0
    for _ in range(200):
        a, b = (chance.random(300) < 0.7).tolist(), (chance.random(300) < 0.6).tolist()
        found = paired_difference(a, b)
        covered += found.low <= 0.1 <= found.high
    # Binomial(200, 0.95): mean 190, standard deviation 3.1; four of them either side.
    assert 178 <= covered <= 200


def test_the_same_scores_give_the_same_interval():
    a, b = [1, 0, 1, 1], [0, 0, 1, 0]
    assert paired_difference(a, b) == paired_difference(a, b)


def test_unequal_lengths_are_refused():
    with pytest.raises(ValueError, match="no pairs"):
        paired_difference([1], [1, 0])


def test_mean_interval_of_right_and_wrong_answers_is_wilson_s():
    assert mean_interval([1] * 81 + [0] * 182) == wilson_interval(81, 263)
    assert mean_interval([1] * 81 + [0] * 182, list(range(263))) == wilson_interval(81, 263)


def test_mean_interval_of_copied_items_is_that_of_the_items():
    # Eight copies of each of 100 items: the effective number is 100.
    scores = ([1] * 60 + [0] * 40) * 8
    assert mean_interval(scores, list(range(100)) * 8) == pytest.approx(wilson_interval(60, 100))
    assert mean_interval([1] * 800, list(range(100)) * 8) == pytest.approx(wilson_interval(100, 100))


def test_mean_interval_of_fractions_is_narrower_than_that_of_right_and_wrong():
    low, high = mean_interval([0.5, 0.6, 0.4, 0.5] * 25)
    # Variance 0.005, SE^2 = 0.00005; p(1 - p) / SE^2 = 0.25 / 0.00005 = 5000: Wilson at 0.5 of 5000 is 0.5 -+ 0.01385.
    assert (low, high) == pytest.approx((0.48615, 0.51385), abs=1e-5)


def test_clustered_error_adds_what_items_of_a_group_have_in_common():
    # Scores 1 1 | 0 0 | 1 0 | 1 0, mean 0.5. Alone: 8 squares of 0.5 make 2, sqrt(2) / 8. Grouped: sums of deviations
    # 1, -1, 0, 0, squares 2, sqrt(2) / 8: what two groups add, two others take away.
    scores, groups = [1, 1, 0, 0, 1, 0, 1, 0], ["a", "a", "b", "b", "c", "c", "d", "d"]
    assert clustered_error(scores) == pytest.approx(math.sqrt(2) / 8)
    assert clustered_error(scores, groups) == pytest.approx(math.sqrt(2) / 8)
    # 1 1 | 1 1 | 0 0 | 0 0: sums 1, 1, -1, -1, squares 4, sqrt(4) / 8.
    assert clustered_error([1, 1, 1, 1, 0, 0, 0, 0], groups) == pytest.approx(2 / 8)


def test_sign_flips_of_single_items_estimate_mcnemar_s_exact_test():
    a, b = [1] * 6 + [0] * 16 + [1] * 50, [0] * 6 + [1] * 16 + [1] * 50
    # Exact 0.05248; the standard error of 20,000 draws is 0.0016.
    assert sign_flip_test(a, b) == pytest.approx(0.05248, abs=0.006)
    assert sign_flip_test(a, a) == 1.0


def test_sign_flips_of_groups_see_one_piece_of_evidence_in_each():
    # Four groups of eight, all in the first model's favour: 2 of 2^4 exchanges are as extreme.
    a, b, groups = [1] * 32, [0] * 32, [place // 8 for place in range(32)]
    assert sign_flip_test(a, b, groups) == pytest.approx(2 / 16, abs=0.01)
    assert sign_flip_test(a, b) < 1e-4


def test_mcnemar_counts_the_binomial_tail_of_discordant_pairs():
    # 6 against 16: 2 (1 + 22 + 231 + 1540 + 7315 + 26334 + 74613) / 2^22 = 220112 / 4194304 = 0.05248.
    a = [True] * 6 + [False] * 16 + [True] * 50
    b = [False] * 6 + [True] * 16 + [True] * 50
    assert mcnemar_exact(a, b) == pytest.approx(0.05248, abs=1e-5)
    assert mcnemar_exact(b, a) == mcnemar_exact(a, b)


def test_mcnemar_of_models_that_agree_or_tie_is_1():
    assert mcnemar_exact([True, False], [True, False]) == 1.0
    assert mcnemar_exact([True, False], [False, True]) == 1.0


def test_mcnemar_works_for_thousands_of_discordant_pairs():
    # 1,000 against 1,100: z = 100 / sqrt(2100) = 2.182, continuity-corrected 99/45.826 = 2.160, two-sided p = 0.0308.
    a, b = [True] * 1000 + [False] * 1100, [False] * 1000 + [True] * 1100
    assert mcnemar_exact(a, b) == pytest.approx(0.0308, abs=0.0003)


def test_minimum_detectable_difference_solves_connors_sample_size():
    # d = 0.2, x = 0.05: (1.95996 x 0.447214 + 0.841621 x sqrt(0.2 - 0.0025))^2 / 0.0025
    # = (0.876521 + 0.374023)^2 / 0.0025 = 625.5 items.
    assert minimum_detectable_difference(625, 0.2) == pytest.approx(0.05, abs=5e-5)


def test_a_difference_is_at_least_discordant_itself():
    # d = 0, so d = x: 100 x = (1.95996 + 0.841621 sqrt(1 - x))^2; at x = 0.07666 that is (1.95996 + 0.80872)^2 = 7.666.
    assert minimum_detectable_difference(100, 0.0) == pytest.approx(0.0767, abs=1e-4)
    # No difference on three items is significant at 5 %: 1.95996^2 > 3.
    assert minimum_detectable_difference(3, 0.1) == 1.0


def test_four_times_the_items_find_about_half_the_difference():
    ratio = minimum_detectable_difference(1000, 0.1) / minimum_detectable_difference(4000, 0.1)
    assert ratio == pytest.approx(2, rel=0.01)
