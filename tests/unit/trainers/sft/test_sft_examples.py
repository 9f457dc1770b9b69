"""Which responses a student is taught: those that ended by themselves with the answer of the vote."""

from __future__ import annotations

import random

import pytest

from retort.text.agreement import stated
from retort.trainers.sft.examples import taught_responses, told_responses

PROMPTS = [{"prompt_id": name, "prompt": f"question {name}"} for name in ("b", "a", "c")]
VOTES = [
    {"prompt_id": "a", "label": "7", "abstained": False},
    {"prompt_id": "b", "label": "12", "abstained": False},
    {"prompt_id": "c", "label": "5", "abstained": True},
]


def response(prompt_id, sample, text, finish="stop"):
    return {"prompt_id": prompt_id, "sample": sample, "response": text, "finish_reason": finish}


RESPONSES = [
    response("a", 0, "#### 7"),
    response("a", 1, "#### 8"),
    response("a", 2, "so it is #### 7.0"),
    response("a", 3, "#### 7", "length"),
    response("a", 4, "seven, I think"),
    response("b", 0, "#### 12", "not_recorded"),
    response("b", 2, "#### 12", "content_filter"),
    response("b", 3, "#### 12", "unknown"),
    response("b", 1, "#### 7"),
    response("c", 0, "#### 5"),
]


def taught(responses, *, prompts=PROMPTS, max_per_prompt=None, seed=0, **settings):
    told = told_responses(prompts, responses, VOTES, "number")
    return taught_responses(told, max_per_prompt=max_per_prompt, seed=seed, **settings)


def texts(responses=RESPONSES, *, prompts=PROMPTS, most=None, seed=0):
    found = taught(responses, prompts=prompts, max_per_prompt=most, seed=seed)
    return [(one.prompt_id, one.response) for one in found]


def test_only_whole_agreeing_responses_to_prompts_with_a_vote_are_used():
    # Left out: a1 disagrees, a3 was cut off, b2 filtered, b3 nobody knows, a4 has no answer, b1 answers another
    # prompt, c abstained.
    assert texts() == [("b", "#### 12"), ("a", "#### 7"), ("a", "so it is #### 7.0")]


def test_all_responses_are_those_that_ended_by_themselves_whatever_the_vote_says():
    found = [(one.prompt_id, one.response) for one in taught(RESPONSES, every=True)]
    # Left out: a3 was cut off, b2 filtered, b3 nobody knows.
    assert found == [
        ("b", "#### 12"),
        ("b", "#### 7"),
        ("a", "#### 7"),
        ("a", "#### 8"),
        ("a", "so it is #### 7.0"),
        ("a", "seven, I think"),
        ("c", "#### 5"),
    ]


def test_an_example_has_the_text_of_its_prompt():
    found = taught(RESPONSES, max_per_prompt=1)
    assert [one.prompt for one in found] == ["question b", "question a"]


def test_the_order_of_responses_and_votes_does_not_matter():
    shuffled = RESPONSES.copy()
    random.Random(1).shuffle(shuffled)
    assert shuffled != RESPONSES
    assert texts(shuffled) == texts()


def many(count=20):
    return [response("a", sample, f"{sample} #### 7") for sample in range(count)]


def test_the_choice_among_many_is_seeded_and_not_the_first_ones():
    once = texts(many(), most=3, seed=1)
    assert len(once) == 3
    assert once == texts(many()[::-1], most=3, seed=1)
    assert once != texts(many(), most=3, seed=2)
    assert once != texts(many(3), most=3, seed=1)


def test_one_prompt_s_choice_does_not_depend_on_the_others():
    alone = texts(many(), prompts=PROMPTS[1:2], most=3)
    beside = texts([*many(), *(response("b", s, f"{s} #### 12") for s in range(9))], most=3)
    assert [one for one in beside if one[0] == "a"] == alone


def test_prompts_of_other_splits_are_ignored():
    assert texts(prompts=PROMPTS[:1]) == [("b", "#### 12")]


@pytest.mark.parametrize(
    ("text", "label", "expected"),
    [
        ("#### 1,024", "1024", True),
        ("the answer is 0.5", "1/2", True),
        ("#### 7", "8", False),
        ("no number at all", "7", False),
        ("", "7", False),
    ],
)
def test_agreement_compares_values(text, label, expected):
    assert stated(text, "number").agrees(label) is expected


def test_reasoning_is_taught_before_the_response_in_its_tags_or_not_at_all():
    thought = response("a", 0, "#### 7") | {"reasoning": "<think>\n8 less 1\n</think>\n\n"}
    rows = [thought, response("b", 0, "#### 12") | {"reasoning": None}]
    found = {kept: [one.response for one in taught(rows, reasoning=kept)] for kept in (True, False)}
    assert found == {True: ["#### 12", "<think>\n8 less 1\n</think>\n\n#### 7"], False: ["#### 12", "#### 7"]}
