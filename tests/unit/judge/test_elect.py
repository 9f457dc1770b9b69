from itertools import combinations
from random import Random

import pytest

from retort.config.data import VotesConfig
from retort.judge.ask import Pair
from retort.judge.elect import OpenPrompt, agree_with, elect_responses, tournament
from tests.unit.judge.stand_ins import grades, prefers, verdict

TEXTS = ["x" * length for length in range(1, 7)]


def test_the_response_that_beats_the_others_is_the_label(judge):
    (found,) = elect_responses(judge(prefers(len), opponents=5), [OpenPrompt("p", "Do it.", TEXTS)], VotesConfig())
    # the longest of six beats all five others, the next one four of five
    assert (found.vote.label, found.vote.votes, found.vote.total, found.vote.share) == ("xxxxxx", 5, 5, 1.0)
    assert found.vote.margin == pytest.approx(1 / 5)
    assert found.agrees == {text: text == "xxxxxx" for text in TEXTS}


def test_order_and_repeats_of_responses_change_nothing(judge):
    expected = elect_responses(judge(prefers(len)), [OpenPrompt("p", "Do it.", TEXTS)], VotesConfig())
    for seed in range(3):
        shuffled = Random(seed).sample([*TEXTS, "xxx", "x"], 8)
        found = elect_responses(judge(prefers(len)), [OpenPrompt("p", "Do it.", shuffled)], VotesConfig())
        assert found[0].vote == expected[0].vote
        assert found[0].scores == expected[0].scores


def test_a_judge_that_contradicts_itself_abstains(judge):
    (found,) = elect_responses(
        judge(lambda _, user: verdict(user, "A")), [OpenPrompt("p", "Do it.", TEXTS)], VotesConfig()
    )
    assert (found.vote.label, found.vote.abstained, found.vote.share) == (None, True, 0.0)
    assert set(found.agrees.values()) == {None}


def test_a_tie_and_too_small_a_margin_abstain(judge):
    tied = OpenPrompt("p", "Do it.", ["aa", "bb"])
    assert elect_responses(judge(prefers(len)), [tied], VotesConfig())[0].vote.abstained
    config, prompt = VotesConfig(min_margin=0.3), OpenPrompt("p", "Do it.", TEXTS)
    assert elect_responses(judge(prefers(len), opponents=5), [prompt], config)[0].vote.abstained


def test_one_text_needs_no_comparison_and_none_has_no_label(judge):
    asked = judge(prefers(len))
    same, empty = elect_responses(
        asked, [OpenPrompt("p", "Do it.", ["x", "x", ""]), OpenPrompt("q", "Do it.", [" "])], VotesConfig()
    )
    assert (same.vote.label, same.vote.votes, same.vote.total) == ("x", 2, 3)
    assert (empty.vote.label, empty.vote.abstained, empty.vote.total) == (None, True, 1)
    assert asked.engine.seen == []


def test_grades_decide_who_agrees(judge):
    asked = judge(grades(len), method="rubric", threshold=5)
    first, second = elect_responses(
        asked, [OpenPrompt("p", "Do it.", [*TEXTS, "xxxxxx"]), OpenPrompt("q", "Do it.", ["x", "xx"])], VotesConfig()
    )
    # grades 1 to 6 and 6 again: 5, 6 and 6 pass, three of seven; the best leads the next by 1 of the scale's 9
    assert (first.vote.label, first.vote.votes, first.vote.total) == ("xxxxxx", 3, 7)
    assert first.vote.margin == pytest.approx(1 / 9)
    assert [text for text, agrees in sorted(first.agrees.items()) if agrees] == ["xxxxx", "xxxxxx"]
    assert (second.vote.label, second.vote.abstained) == (None, True)


def test_two_good_responses_are_no_tie_for_a_rubric(judge):
    (found,) = elect_responses(
        judge(grades(lambda _: 9), method="rubric"), [OpenPrompt("p", "Do it.", ["a", "b"])], VotesConfig()
    )
    assert not found.vote.abstained
    assert found.agrees == {"a": True, "b": True}


def test_further_responses_are_held_against_the_label(judge):
    label = "xxx"
    asked = [Pair("p", "Do it.", text, label) for text in ("xxxx", "yyy", "xxx", "x", "")]
    assert agree_with(judge(prefers(len)), asked) == [True, True, True, False, False]
    assert agree_with(judge(lambda _, user: verdict(user, "B")), asked[:1]) == [None]
    by_grade = judge(grades(len), method="rubric", threshold=4)
    assert agree_with(by_grade, asked[:4]) == [True, False, False, False]


@pytest.mark.parametrize("count", range(1, 8))
@pytest.mark.parametrize("opponents", [1, 2, 3, 10])
def test_everyone_meets_as_many_others(count, opponents):
    pairs = tournament(OpenPrompt("p", "i", [str(number) for number in range(count)]), opponents)
    met = [frozenset((pair.first, pair.second)) for pair in pairs]
    assert len(set(met)) == len(met)
    played = [sum(str(number) in pair for pair in met) for number in range(count)]
    assert max(played) - min(played) <= 1
    assert min(played) >= min(opponents, count - 1)
    if opponents >= count - 1:
        assert set(met) == {frozenset(pair) for pair in combinations(map(str, range(count)), 2)}
