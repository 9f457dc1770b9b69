from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from retort.votes.confidence import LEAST_KNOWN, HeldOutAgreement, gold_confidence, isotonic, score_of
from retort.votes.majority import Vote, group_answers, majority_vote


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 8), st.floats(0, 1), st.integers(1, 5)), min_size=1, max_size=30))
def test_isotonic_fit_equals_scikit_learns(points):
    fit = isotonic((score / 8, outcome, float(weight)) for score, outcome, weight in points)
    scores = np.array([score / 8 for score, _, _ in points])
    reference = IsotonicRegression().fit(scores, [p[1] for p in points], sample_weight=[p[2] for p in points])
    assert [fit(score) for score in scores] == pytest.approx(reference.predict(scores).tolist(), abs=1e-6)


def test_isotonic_pools_what_would_fall():
    # 0.2 -> 1, 0.4 -> 0 (weight 3): pooled to 1/4; 0.6 -> 1
    fit = isotonic([(0.2, 1, 1), (0.4, 0, 3), (0.6, 1, 1)])
    assert (fit(0.1), fit(0.2), fit(0.5), fit(0.6), fit(9)) == (0.25, 0.25, 0.25, 1, 1)
    with pytest.raises(ValueError, match="no point"):
        isotonic([])


ANSWERS = st.lists(st.sampled_from(["1", "1.0", "2", "3", None]), min_size=1, max_size=8)


@settings(deadline=None)
@given(ANSWERS, st.data())
def test_held_out_agreement_equals_leaving_each_response_out(answers, data):
    weights = data.draw(
        st.none() | st.lists(st.sampled_from([0.5, 1.0, 3.0]), min_size=len(answers), max_size=len(answers))
    )
    groups = group_answers(answers, "number")
    found = HeldOutAgreement()
    found.add(groups, answers, weights)
    expected = defaultdict(lambda: [0, 0])
    for held in range(len(answers)):
        rest = [answer for place, answer in enumerate(answers) if place != held]
        left = None if weights is None else [w for place, w in enumerate(weights) if place != held]
        vote = majority_vote(rest, "number", weights=left)
        if vote.label is not None:
            tally = expected[score_of(vote.share, vote.margin)]
            agrees = answers[held] is not None and float(answers[held]) == float(vote.label)
            tally[0] += agrees
            tally[1] += 1
    assert {key: list(value) for key, value in found.counts.items()} == dict(expected)


def test_held_out_agreement_is_below_the_share_of_the_voters_themselves():
    # Responses drawn at random from ten answers: a winner has 2 or 3 of 5 by luck, one more agrees one time in ten.
    rng, found = np.random.default_rng(0), HeldOutAgreement()
    votes = []
    for _ in range(2000):
        answers = [str(one) for one in rng.integers(10, size=5)]
        found.add(group_answers(answers, "number"), answers, None)
        votes.append(majority_vote(answers, "number"))
    fit = found.fit()
    kept = [vote for vote in votes if not vote.abstained]
    assert np.mean([vote.share for vote in kept]) > 0.4
    assert 0.08 < np.mean([fit(score_of(vote.share, vote.margin)) for vote in kept]) < 0.14


def vote_of(share):
    return Vote("1", round(share * 10), 10, share, share, False)


def test_gold_confidence_is_the_accuracy_of_votes_alike():
    votes = [vote_of(0.3)] * 100 + [vote_of(0.9)] * 100
    correct = [place % 4 == 0 for place in range(100)] + [place % 10 != 0 for place in range(100)]
    found = gold_confidence(votes, correct, [str(place) for place in range(200)])
    # one in four right at 0.3, nine in ten at 0.9
    assert np.mean(found[:100]) == pytest.approx(0.25, abs=0.01)
    assert np.mean(found[100:]) == pytest.approx(0.9, abs=0.01)


def test_a_labels_own_gold_answer_does_not_enter_its_confidence():
    votes, keys = [vote_of(place / 60) for place in range(60)], [str(place) for place in range(60)]
    correct = [place > 30 for place in range(60)]
    before = gold_confidence(votes, correct, keys)
    for place in (0, 59):
        changed = correct.copy()
        changed[place] = not changed[place]
        assert gold_confidence(votes, changed, keys)[place] == before[place]


def test_gold_confidence_needs_enough_gold_and_a_label():
    votes = [vote_of(0.5)] * LEAST_KNOWN + [Vote(None, 1, 2, 0.5, 0.0, True), vote_of(0.5)]
    correct = [True] * LEAST_KNOWN + [None, None]
    keys = [str(place) for place in range(len(votes))]
    assert gold_confidence(votes[1:], correct[1:], keys[1:]) == [None] * (len(votes) - 1)
    assert gold_confidence(votes, correct, keys) == [1.0] * LEAST_KNOWN + [None, 1.0]


def test_order_of_prompts_does_not_matter():
    votes = [vote_of((place * 7 % 60) / 60) for place in range(60)]
    correct = [place % 3 > 0 for place in range(60)]
    keys = [f"p{place}" for place in range(60)]
    forwards = dict(zip(keys, gold_confidence(votes, correct, keys), strict=True))
    backwards = dict(zip(keys[::-1], gold_confidence(votes[::-1], correct[::-1], keys[::-1]), strict=True))
    assert forwards == backwards
    assert len(Counter(forwards.values())) > 1


def test_a_few_odd_prompts_do_not_decide_the_confidence_of_all_low_shares():
    held_out = HeldOutAgreement()
    for _ in range(100):
        held_out.add([Counter(a=2), Counter(b=1), Counter(c=1)], list("aabc"), None)
    usual = held_out.fit()
    held_out.add([Counter(a=1), Counter(b=1)], ["a", "b", None, None], None)
    assert held_out.fit()(0.375) == pytest.approx(usual(0.375), abs=0.02)
