from retort.text.vote import majority_vote


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
