import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retort.votes.majority import majority_vote


def test_equal_values_vote_together():
    vote = majority_vote(["0.5", "1/2", ".5", "3", "3"], "number")
    # three of five for one half, two for three: share 3/5, margin 1/5
    assert (vote.votes, vote.total, vote.share, vote.abstained) == (3, 5, 0.6, False)
    assert abs(vote.margin - 0.2) < 1e-12
    assert vote.label == ".5"  # of equally frequent spellings the shortest


def test_tie_abstains():
    vote = majority_vote(["1", "2"], "number")
    assert vote.abstained
    assert vote.label is None
    assert vote.votes == 1


def test_unparsed_responses_count_in_the_total():
    vote = majority_vote(["7", None, None, None], "number")
    assert (vote.label, vote.share) == ("7", 0.25)
    assert majority_vote(["7", None, None, None], "number", min_share=0.3).abstained


def test_margin_below_the_least_abstains():
    answers = ["1"] * 3 + ["2"] * 2  # margin 1/5
    assert not majority_vote(answers, "number", min_margin=0.2).abstained
    assert majority_vote(answers, "number", min_margin=0.21).abstained


def test_no_answer_abstains():
    for answers in ([], [None, None]):
        vote = majority_vote(answers, "number")
        assert vote.abstained
        assert vote.total == len(answers)


def test_percentages_join_those_who_left_the_sign_out():
    assert majority_vote(["50%", "50", "7", "7", "50"], "number").label == "50"
    # where others answered 0.5, a percentage is that
    assert majority_vote(["50%", "0.5", "50"], "number").label == "0.5"


def test_expressions_are_grouped_by_algebra():
    vote = majority_vote(["(x+1)^2", "x^2+2x+1", "x", "x^2 + 2x + 1"], "expression")
    assert (vote.votes, vote.abstained) == (3, False)


def test_weights_decide_and_shares_are_of_the_weight():
    vote = majority_vote(["1", "1", "2", None], "number", weights=[0.5, 0.5, 2.0, 1.0])
    # 2 has weight 2 of 4 and leads 1, which has 1: share 2/4, margin 1/4, one response
    assert (vote.label, vote.votes, vote.total, vote.share, vote.margin) == ("2", 1, 4, 0.5, 0.25)


def test_equal_weights_are_no_weights():
    answers = ["1", "1.0", "2", None, "3"]
    weighed, plain = majority_vote(answers, "number", weights=[0.5] * 5), majority_vote(answers, "number")
    assert weighed == plain


def test_sums_that_differ_by_rounding_are_a_tie():
    # 0.1 + 0.2 = 0.30000000000000004
    assert majority_vote(["1", "1", "2"], "number", weights=[0.1, 0.2, 0.3]).abstained


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [1.0, float("nan")]])
def test_weights_that_mean_nothing_are_refused(weights):
    with pytest.raises(ValueError, match=r"weights|zip"):
        majority_vote(["1", "2"], "number", weights=weights)


WRITTEN = st.sampled_from(["0.5", "1/2", "50%", "50", ".50", "1,000", "1000", "1000.0", "7", "-7", "x", None])


@settings(deadline=None)
@given(st.lists(st.tuples(WRITTEN, st.floats(0, 10)), max_size=12), st.randoms())
def test_permuting_responses_changes_nothing(votes, random):
    shuffled = random.sample(votes, len(votes))
    for weighed in (False, True):
        first, second = (
            majority_vote([a for a, _ in some], "number", weights=[w for _, w in some] if weighed else None)
            for some in (votes, shuffled)
        )
        assert first == second


def test_every_way_to_write_a_number_is_one_answer():
    assert majority_vote(["0.5", "1/2", "50%", "2"], "number").votes == 3
    assert majority_vote(["1,000", "1000", "1000.00", "1"], "number").votes == 3
