"""Numbers are read whole or not at all: the value that a reader of the text would name, or nothing."""

import json
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from retort.text.equal import same_answer
from retort.text.extract import read_answer
from retort.text.gold import gold_answer, readable_gold

LINES = (Path(__file__).parents[2] / "data/numbers/spellings.jsonl").read_text(encoding="utf-8").splitlines()
ROWS = [json.loads(line) for line in LINES]
STATED = [(row["text"], row["value"]) for row in ROWS if row["value"] is not None]
UNSTATED = [row["text"] for row in ROWS if row["value"] is None]


@pytest.mark.parametrize(("text", "value"), STATED)
def test_number_is_read_whole(text, value):
    answer = read_answer(text, "number")
    assert answer is not None
    assert same_answer(answer.value, value, "number"), answer


@pytest.mark.parametrize("text", UNSTATED)
def test_what_is_no_one_number_is_not_read_as_one(text):
    assert read_answer(text, "number") is None


BOUNDED = settings(max_examples=300, deadline=None, derandomize=True)
MARKERS = [
    "#### {}",
    "A: {}",
    "\\boxed{{{}}}",
    "The answer is {}.",
    "**{}**",
    "<answer>{}</answer>",
    "So in all that is {}.",
]
MARKER = st.sampled_from(MARKERS)
DIGITS = ["0123456789", "\uff10\uff11\uff12\uff13\uff14\uff15\uff16\uff17\uff18\uff19",
          "\u0660\u0661\u0662\u0663\u0664\u0665\u0666\u0667\u0668\u0669",
          "\u0966\u0967\u0968\u0969\u096a\u096b\u096c\u096d\u096e\u096f"]  # fmt: skip


def value_of(marker, number):
    answer = read_answer("We think first.\n" + marker.format(number), "number")
    return None if answer is None else answer.value


def equals(value, wanted):
    return value is not None and same_answer(value, str(wanted), "number")


@BOUNDED
@given(MARKER, st.integers(0, 10**12), st.sampled_from([",", "\u00a0", "\u2009", "\u202f", "'", "\u2019", " ", "{,}"]))
def test_groups_of_three_are_one_number_with_any_separator(marker, number, separator):
    assert equals(value_of(marker, f"{number:,}".replace(",", separator)), number)


@BOUNDED
@given(MARKER, st.integers(1000, 10**9), st.integers(1, 99))
def test_points_and_commas_change_places_together(marker, whole, cents):
    english = f"{whole:,}.{cents:02d}"
    european = english.replace(",", "_").replace(".", ",").replace("_", ".")
    assert equals(value_of(marker, english), f"{whole}.{cents:02d}")
    assert equals(value_of(marker, european), f"{whole}.{cents:02d}")


@BOUNDED
@given(MARKER, st.integers(0, 10**9), st.sampled_from(DIGITS))
def test_digits_of_any_script_are_digits(marker, number, digits):
    assert equals(value_of(marker, "".join(digits[int(digit)] for digit in str(number))), number)


@BOUNDED
@given(
    MARKER,
    st.integers(1, 999),
    st.sampled_from([("k", 3), ("M", 6), (" thousand", 3), (" million", 6), (" billion", 9)]),
)
def test_magnitudes_multiply(marker, number, magnitude):
    word, power = magnitude
    assert equals(value_of(marker, f"{number}{word}"), number * 10**power)


NOT_ONE = [
    "{0}x", "{0}x + {1}", "{0} or {1}", "{0} to {1}", "{0}-{1}", "{0} + {1}", "{0} - {1}", "{0}:{1:02d}", "{0}\\pi",
    "{0}_{{{1}}}", "{0} hours and {1} minutes", "({0}, {1})", "not {0}", "{0} < x", "{0}th", "{0}/{1}/{0}", "\\log {0}",
    "{0} \\pm {1}",
]  # fmt: skip


@BOUNDED
@given(st.sampled_from(MARKERS[:6]), st.integers(2, 500), st.integers(2, 59), st.sampled_from(NOT_ONE))
def test_what_goes_on_is_never_cut_to_its_beginning(marker, first, second, form):
    assume(first != second)  # "2 or 2" is 2
    assert value_of(marker, form.format(first, second)) is None


@BOUNDED
@given(MARKER, st.text(alphabet="0123456789.,' /^!x%kM-+*()\u00bd\u00b2\u221a\u00d7{}\\$ or", max_size=14))
def test_any_tangle_is_read_alike_twice_and_lies_inside(marker, tangle):
    text = marker.format(tangle)
    answer = read_answer(text, "number")
    assert answer == read_answer(text, "number")
    if answer is not None:
        assert 0 <= answer.start < answer.end <= len(text)


GOLD = [
    "72", "$72", "72 clips", "72 cm", r"\boxed{72}", r"So the total is $\boxed{72}$.", "The answer is 72",
    "Work...\nThe answer is: 72", "1 072 - 1000 = 72", "= 72", "x = 72", "72.0", "so\n#### 72", "so\nA: 72",
    "**Answer:** 72 clips", "\uff17\uff12", "seventy-two", "So he sold 72 clips.",
    "Natalia sold 72 clips altogether in April and May",
]  # fmt: skip


@pytest.mark.parametrize("gold", GOLD)
def test_gold_is_read_by_the_rules_for_responses(gold):
    assert same_answer("72", gold_answer(gold), "number")
    assert not same_answer("7", gold_answer(gold), "number")
    assert readable_gold(gold_answer(gold), "number")


@pytest.mark.parametrize("gold", ["many", "72 or 73", "2x", "3:30", "", "He took 72 clips in 3 days.", "Not 72."])
def test_gold_that_states_no_number_is_not_readable(gold):
    assert not readable_gold(gold_answer(gold), "number")


@pytest.mark.parametrize(
    "gold",
    ["B", "b", "(B)", "B.", "B) the second", "B: the second", "**B. the second**", "Option B", "[B]", "Answer: B"],
)
def test_gold_letters_are_read_however_they_are_spelt(gold):
    assert readable_gold(gold_answer(gold), "choice")
    assert same_answer("B", gold_answer(gold), "choice")
    assert not same_answer("A", gold_answer(gold), "choice")


@pytest.mark.parametrize("gold", ["0", "1", "A or B", "A, B", "the second", ""])
def test_gold_that_names_no_one_letter_is_not_readable(gold):
    assert not readable_gold(gold_answer(gold), "choice")
