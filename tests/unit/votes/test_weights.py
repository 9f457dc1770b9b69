from math import exp, isclose, log

import pytest

from retort.votes.majority import group_answers
from retort.votes.weights import SourceWeights, probability_weights


def learned(*prompts):
    weights = SourceWeights()
    for answers, sources in prompts:
        weights.add(group_answers(answers, "number"), answers, sources)
    return weights.weights()


def test_a_source_is_compared_only_where_the_others_elect():
    # without a: b says 1, c says 0, a tie; the same without b. Only c can be compared, with a and b, who agree
    assert set(learned(*[(["1", "1", "0"], ["a", "b", "c"])] * 8)) == {"c"}


def test_weights_are_log_likelihood_ratios():
    # Four sources; d differs on 6 of 8 prompts. Without a, votes are 1 1 0 (d wrong) or 1 1 1: a is right on 8 of 8,
    # p = 9/10, and so are b and c; d is right on 2 of 8, p = 3/10. Wrong answers never come in pairs: q = 1/2.
    prompts = [(["1", "1", "1", "0"], list("abcd"))] * 6 + [(["1"] * 4, list("abcd"))] * 2
    found = learned(*prompts)
    assert isclose(found["a"], log(0.9 / (0.1 * 0.5)))
    assert found["a"] == found["b"] == found["c"]
    assert found["d"] == max(0.0, log(0.3 / (0.7 * 0.5))) == 0.0


def test_answers_that_coincide_by_chance_weigh_less():
    scattered = [(["1", "1", "1", "1", "8", "9"], list("abcdef"))] * 20
    alike = [(["1", "1", "1", "1", "8", "8"], list("abcdef"))] * 20
    assert learned(*scattered)["a"] > learned(*alike)["a"]


def test_one_source_or_nothing_to_compare_counts_once():
    assert learned((["1", "1", "2"], ["a", "a", "a"])) == {}
    assert learned() == {}


def test_unparsed_responses_elect_nothing():
    found = learned(*[([None, None, None, "1", "1", "1"], list("abcdef"))] * 10)
    assert found["a"] == 0.0 < found["d"]


def test_probability_weights_are_geometric_means():
    assert probability_weights([0.0, log(0.5), -3.0]) == pytest.approx([1.0, 0.5, exp(-3)])
