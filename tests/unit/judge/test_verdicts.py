import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retort.judge.verdicts import read_choice, read_rating

CODE = "0123456789ab"


@pytest.mark.parametrize(
    ("output", "choice"),
    [
        ("A", "A"),
        (" b.\n", "B"),
        ("tie", "tie"),
        ("[[A]]", "A"),
        ("**[[B]]**", "B"),
        ("Both are fine.\n\nFinal verdict: [[C]]", "tie"),
        ("Long words about both.\nVerdict: A", "A"),
        ("Response A", "A"),
        ('{"winner": "B"}', "B"),
        ('```json\n{"explanation": "[[A]]", "verdict": "tie"}\n```', "tie"),
        ("<think>[[A]]</think>\n[[B]]", "B"),
        # a verdict that does not end the output, or two, or none
        ("[[A]]\nOn second thoughts I cannot say.", None),
        ("It could be [[A]] or [[B]]", None),
        ("[[A]] is what the response asks for", None),
        ("A is better", None),
        ('{"winner": "A", "verdict": "B"}', None),
        ('{"winner": "D"}', None),
        ("<think>surely [[A]]", None),
        ("", None),
        ("[[D]]", None),
    ],
)
def test_plain_choices(output, choice):
    assert read_choice(output) == choice


@pytest.mark.parametrize(
    ("output", "grade"),
    [
        ("7", 7.0),
        ("Rating: [[7.5]]", 7.5),
        ("It is good.\nRating: 7/10", 7.0),
        ('{"score": 8}', 8.0),
        ("[[11]]", None),
        ("[[0]]", None),
        ("Rating: [[7]]\nbut perhaps 9", None),
        ("between 7 and 8", None),
        ("[[nan]]", None),
        ("seven", None),
    ],
)
def test_plain_grades(output, grade):
    assert read_rating(output, low=1, high=10) == grade


@pytest.mark.parametrize(
    ("output", "choice"),
    [
        (f"Because.\n[[{CODE}: A]]", "A"),
        (f"**[[{CODE}:B]]**", "B"),
        (f"[[{CODE}: tie]]\n\n", "tie"),
        ("[[A]]", None),
        ("[[ba9876543210: A]]", None),
        (f"[[{CODE}: A]] is my verdict", None),
        (f"[[{CODE}: A]]\nand so on", None),
        (f"My verdict: [[{CODE}: A]]", None),
        ("A", None),
    ],
)
def test_coded_choices_need_the_code_and_the_last_line(output, choice):
    assert read_choice(output, CODE) == choice
    assert read_rating(output.replace(": A", ": 7").replace("A", "7"), CODE, low=1, high=10) in (7.0, None)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(max_size=300))
def test_no_text_without_the_code_is_a_coded_verdict(text):
    assert read_choice(text, CODE) is None
    assert read_rating(text, CODE, low=1, high=10) is None


@pytest.mark.parametrize("piece", ["[[A]]", "{", "[", "verdict: ", '{"a":', "<think>", "```json\n", " "])
def test_a_megabyte_is_read_in_under_a_second(piece):
    text = piece * (1_000_000 // len(piece))
    started = time.perf_counter()
    read_choice(text)
    read_choice(text, CODE)
    read_rating(text, low=1, high=10)
    assert time.perf_counter() - started < 1
