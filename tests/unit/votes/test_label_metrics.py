from itertools import combinations
from math import isclose, log

import pytest

from retort.votes.label_metrics import (
    accuracy_at_coverage,
    agreement,
    answer_entropy,
    label_quality,
    maj_at_k,
    pass_at_k,
)


def test_pass_at_k_equals_a_count_over_all_subsets():
    right = [True, True, False, False, False]
    for k in range(1, 6):
        subsets = list(combinations(right, k))
        assert isclose(pass_at_k(5, 2, k), sum(any(subset) for subset in subsets) / len(subsets))


@pytest.mark.parametrize("answers", ["aabbc", "aaabbb-", "a----", "bbbb", "aabbccdd", "aaab"])
def test_maj_at_k_equals_a_count_over_all_subsets(answers):
    counts = {letter: answers.count(letter) for letter in set(answers) - {"a", "-"}}

    def elects_a(subset):
        a = subset.count("a")
        return a > 0 and all(subset.count(letter) < a for letter in counts)

    for k in range(1, len(answers) + 1):
        subsets = list(combinations(answers, k))
        expected = sum(map(elects_a, subsets)) / len(subsets)
        assert isclose(maj_at_k(answers.count("a"), list(counts.values()), answers.count("-"), k), expected)


@pytest.mark.parametrize("k", [0, 6])
def test_k_beyond_the_responses_is_refused(k):
    with pytest.raises(ValueError, match="between 1 and 5"):
        pass_at_k(5, 2, k)
    with pytest.raises(ValueError, match="between 1 and 5"):
        maj_at_k(2, [2], 1, k)


def test_agreement_counts_pairs():
    # 3 + 1 answers of 5 responses: 3*2 ordered pairs agree of 5*4
    assert isclose(agreement([3, 1], 5), 6 / 20)
    assert agreement([1], 1) == 1.0


def test_entropy_of_halves_is_log_two():
    assert isclose(answer_entropy([2, 2]), log(2))
    assert isclose(answer_entropy([2], unparsed=2), log(2))
    assert answer_entropy([4]) == 0.0


def test_accuracy_at_coverage_takes_equal_confidences_together():
    # most confident first: 0.9 right; then 0.5 right and 0.5 wrong together: 2 of 3
    curve = accuracy_at_coverage([0.5, 0.9, 0.5], [False, True, True])
    assert curve == [(1 / 3, 1.0), (1.0, 2 / 3)]


def test_label_quality_leaves_abstentions_and_unknown_gold_out_of_accuracy():
    quality = label_quality([1.0, 0.5, 0.0, 0.5], [True, False, None, None], [False, False, True, False])
    assert (quality.coverage, quality.accuracy, quality.known, quality.mean_share) == (0.75, 0.5, 2, 0.5)
