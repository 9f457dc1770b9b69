import json

import pytest

from retort.engines.base import Response
from retort.judge.ask import Judge, Pair, Single
from tests.unit.judge.stand_ins import Scripted, grades, material, prefers, verdict

SHORT, LONG = Pair("p", "Do it.", "short", "a longer one"), Pair("q", "Do it.", "a longer one", "short")


def test_both_orders_agree_on_the_better_one(judge):
    asked = judge(prefers(len))
    assert asked.compare([SHORT, LONG, Pair("r", "Do it.", "same", "size")]) == [0.0, 1.0, 0.5]
    assert (asked.record.pairs, asked.record.swayed, len(asked.record.calls)) == (3, 0, 6)


@pytest.mark.parametrize("word", ["A", "B"])
def test_a_judge_that_goes_by_position_decides_nothing_and_shows_it(judge, word):
    asked = judge(lambda _, user: verdict(user, word))
    assert asked.compare([SHORT, LONG]) == [None, None]
    assert asked.record.swayed == 2
    from retort.judge.comparisons import bias

    assert bias(asked.record.comparisons).first_wins == (1.0 if word == "A" else 0.0)


def test_a_verdict_in_one_order_only_decides_nothing(judge):
    asked = judge(lambda _, user: verdict(user, "A") if material(user)[0]["RESPONSE A"] == "short" else "No idea.")
    assert asked.compare([SHORT]) == [None]
    assert asked.record.swayed == 0
    assert [call.verdict for call in asked.record.calls] == ["A", None]


def test_a_tie_in_one_order_and_a_winner_in_the_other_is_no_verdict(judge):
    asked = judge(lambda _, user: verdict(user, "tie" if material(user)[0]["RESPONSE A"] == "short" else "A"))
    assert asked.compare([SHORT]) == [None]


def test_grades_are_averaged_over_samples(judge):
    said = iter(["4", "6", "no grade", "9"])
    asked = judge(lambda _, user: verdict(user, next(said)), method="rubric", samples=2, temperature=1.0)
    # 4 and 6; then one that is no number, and 9
    assert asked.grade([Single("p", "Do it.", "x"), Single("p", "Do it.", "y")]) == [5.0, 9.0]


def test_one_text_is_judged_once(judge):
    asked = judge(grades(len), method="rubric")
    assert asked.grade([Single("p", "Do it.", "four"), Single("p", "Do it.", "four")]) == [4.0, 4.0]
    assert len(asked.engine.seen) == 1


def test_what_was_cut_off_has_no_verdict(judge):
    asked = judge(prefers(len))
    whole = asked.engine.generate

    def cut(requests, sampling, done=()):
        for (one,) in whole(requests, sampling, done):
            yield [Response(**{**vars(one), "finish_reason": "length"})]

    asked.engine.generate = cut
    assert asked.compare([SHORT]) == [None]


def test_a_killed_judge_goes_on_with_what_is_missing(judge, tmp_path):
    said = iter([prefers(len)] * 3)  # and then no more

    def answer(system, user):
        return next(said)(system, user)

    asked = judge(answer)
    with pytest.raises(RuntimeError):
        asked.compare([SHORT, LONG])
    again = Judge(Scripted(prefers(len)), asked.config, asked._state, seed=0)
    assert again.compare([SHORT, LONG]) == [0.0, 1.0]
    assert len(again.engine.seen) == 1


def test_the_same_call_has_the_same_words_in_every_run(judge):
    first, second = judge(prefers(len)), judge(prefers(len))
    first.compare([SHORT, LONG])
    second.compare([LONG, SHORT])
    assert sorted(first.engine.seen) == sorted(second.engine.seen)
    assert {call.call_id for call in first.record.calls} == {call.call_id for call in second.record.calls}


def test_the_judge_is_told_the_criteria(judge):
    asked = judge(prefers(len), criteria="politeness alone")
    asked.compare([SHORT])
    assert all("Judge by: politeness alone." in system for system, _ in asked.engine.seen)
    assert json.loads(asked.record.calls[0].prompt)[0]["role"] == "system"
