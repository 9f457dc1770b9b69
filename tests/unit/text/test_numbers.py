"""Numbers are read whole or not at all: the value that a reader of the text would name, or nothing."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from retort.text.equal import same_answer
from retort.text.extract import read_answer
from retort.text.gold import gold_answer, readable_gold

STATED = [
    ("The answer is 1,234.", "1234"),
    ("The answer is 1.234,56 €.", "1234.56"),
    ("The answer is 12,345.67.", "12345.67"),
    ("It costs 3,50 € each. The answer is 1.234 €.", "1234"),
    ("It costs 3.50 each. The answer is 1,234.", "1234"),
    ("The answer is 1\u2009234\u2009567.", "1234567"),
    ("The answer is 12\xa0500.", "12500"),
    ("The answer is 1’234’567 francs.", "1234567"),
    ("The answer is 10,00,000.", "1000000"),
    ("The answer is 2 3/4 cups.", "11/4"),
    ("The answer is 2 and 1/2.", "5/2"),
    ("The answer is two and a half.", "5/2"),
    ("The answer is $\\sqrt{16}$.", "4"),
    ("The answer is 2^{10}.", "1024"),
    ("The answer is 2^10.", "1024"),
    ("The answer is 10^{-3}.", "0.001"),
    ("The answer is 3 \\times 4.", "12"),
    ("The answer is 3 × 4.", "12"),
    ("The answer is 3·4.", "12"),
    ("The answer is 3*4.", "12"),
    ("The answer is 5 million.", "5000000"),
    ("The answer is $2.5k.", "2500"),
    ("The answer is 2 dozen eggs.", "24"),
    ("The answer is a dozen.", "12"),
    ("The answer is half a million.", "500000"),
    ("The answer is 3 hundred.", "300"),
    ("The answer is 50 percent.", "50%"),
    ("The answer is \uff15\uff10\uff05.", "50%"),
    ("The answer is US$5.", "5"),
    ("The answer is 5 €.", "5"),
    ("The answer is £1,299.99.", "1299.99"),
    ("The answer is ١٢٣.", "123"),
    ("The answer is १२३.", "123"),
    ("答案是12个苹果。", "12"),
    ("答案是3万。", "30000"),
    ("The answer is twenty-one.", "21"),
    ("The answer is one hundred and five.", "105"),
    ("The answer is two thirds.", "2/3"),
    ("The answer is three quarters.", "3/4"),
    ("The answer is not 5 but 6.", "6"),
    ("The answer is 5\\text{ cm}.", "5"),
    ("The answer is $5\\,\\mathrm{kg}$.", "5"),
    ("The answer is 72^\\circ.", "72"),
    ("The answer is 0.\\overline{3}.", "1/3"),
    ("The answer is 0.(3).", "1/3"),
    ("\\boxed{x=5}", "5"),
    ("\\boxed{-5}", "-5"),
    ("\\boxed{- 5}", "-5"),
    ("\\boxed{\\frac{3.5}{2}}", "1.75"),
    ("\\boxed{\\dfrac{-3}{4}}", "-3/4"),
    ("\\boxed{5!}", "120"),
    ("\\boxed{5\\%}", "5%"),
    ("\\boxed{2^{3}}", "8"),
    ("The answer is 18 - that is, eighteen.", "18"),
    ("The answer is 18 apples in 3 days.", "18"),
    ("La respuesta es 18 manzanas en 3 días.", "18"),
    ("Die Antwort lautet 18.", "18"),
    ("La réponse est 3,5.", "3.5"),
    ("The answer is negative 5.", "-5"),
    ("The answer is minus 5.", "-5"),
    ("The answer is -$5.", "-5"),
    ("The answer is $-5.", "-5"),
    ("The answer is −5.", "-5"),
    ("The answer is -5°C.", "-5"),
    ("The answer is 1e6.", "1000000"),
    ("The answer is 6.02e23.", "602000000000000000000000"),
    ("The answer is 3 times.", "3"),
    ("#### 1,5 kg", "1.5"),
    ("A: 1 000 000", "1000000"),
    ("#### 1 000", "1000"),
    ("So there are **$1.5M** left", "1500000"),
    ("So she has 1 000 000 dollars", "1000000"),
    ("So she has 2½ hours", "5/2"),
    ("The total is 5²", "25"),
    ("he has 3.2 × 10⁵", "320000"),
    ("It's 25k", "25000"),
    ("The answer is 12 apples because 3 times 4 is 12.", "12"),
    ("The answer is 18. She has 3 left.", "18"),
    ("The answer is 1/2 or 0.5.", "1/2"),
    ("The answer is $\\frac{5}{6}$ of a pie.", "5/6"),
    ("The answer is **18**, not 20.", "18"),
    ("The answer is 18 (9 + 9).", "18"),
    ("The answer is 3 km/h.", "3"),
    ("The answer is 18/day.", "18"),
    ("The answer is 5-year.", "5"),
    ("The answer is 5,000,000.", "5000000"),
    ("The answer is 5.000.000.", "5000000"),
    ("The answer is 0,5.", "0.5"),
    ("The answer is 10 ÷ 4.", "2.5"),
    ("The answer is 5 squared.", "25"),
    ("The answer is the square root of 16.", "4"),
    ("The answer is 24/7.", "24/7"),
    ("The answer is 2 1/2 dozen.", "30"),
    ("The answer is 75¢.", "75"),
    ("Der Preis: 1.500,00 €. Antwort: 1.500 €", "1500"),
    ("The answer is 5 lakh.", "500000"),
    ("The answer is 3 Millionen Euro.", "3000000"),
    ("The answer is 2·10^3.", "2000"),
    ("The answer is 2\\cdot10^{3}.", "2000"),
    ("The answer is 5 x 10^3.", "5000"),
    ("The answer is 5x10^3.", "5000"),
    ("The answer is 15 — no more.", "15"),
    ("The answer is \uffe5\uff11\uff0c\uff12\uff13\uff14\uff0e\uff15.", "1234.5"),
    ("The answer is \\sqrt[3]{27}.", "3"),
    ("The answer is ∛27.", "3"),
    ("The answer is ⅔.", "2/3"),
    ("The answer is 5⅔ m.", "17/3"),
    ("The answer is 12 cm².", "12"),
    ("The answer is 12 cm^2.", "12"),
    ("The answer is 12 \\text{ cm}^2.", "12"),
    ("The answer is $12\\text{ cm}^2$.", "12"),
    ("The answer is 60 km/h.", "60"),
    ("The answer is 9.8 m/s^2.", "9.8"),
    ("The answer is 1 ½.", "3/2"),
    ("The answer is 5 or so.", "5"),
    ("The answer is 5 and that is it.", "5"),
    ("The answer is 5..", "5"),
    ("The answer is 5...", "5"),
]

UNSTATED = [
    "The answer is 1,0000.",
    "The answer is \\sqrt{2}.",
    "The answer is 2\\sqrt{3}.",
    "The answer is 2\\sqrt{9}.",
    "The answer is 2^x.",
    "The answer is 3 x 4.",
    "The answer is 3:30.",
    "The answer is 3:30 pm.",
    "The answer is 3 pm.",
    "The answer is 10/12/2024.",
    "答案是十二。",
    "The answer is twenty-third.",
    "The answer is 5 to 6.",
    "The answer is 5-6.",
    "The answer is 5–6.",
    "The answer is between 5 and 6.",
    "The answer is 5, 6.",
    "The answer is 5 and 6.",
    "The answer is x = 5 or x = 6.",
    "The answer is x = 5, y = 6.",
    "The answer isn't 5.",
    "The answer is more than 5.",
    "The answer is > 5.",
    "The answer is ≠ 5.",
    "The answer is \\neq 5.",
    "The answer is 5 feet 3 inches.",
    "The answer is 2h30.",
    "The answer is 5'10\".",
    "The answer is 2h 30min.",
    "The answer is 2\\pi.",
    "The answer is 2π.",
    "The answer is 101_2.",
    "The answer is 12_{5}.",
    "The answer is \\log 5.",
    "The answer is log 5.",
    "The answer is sin 30.",
    "The answer is 0.333...",
    "The answer is x + 5.",
    "The answer is 5 + x.",
    "The answer is 5x + 3.",
    "The answer is (3, 4).",
    "The answer is (3,4).",
    "\\boxed{(3, 4)}",
    "\\boxed{3, 4}",
    "\\boxed{5} or \\boxed{6}",
    "$\\boxed{5}$ million dollars",
    "\\boxed{5\\text{ or }6}",
    "\\boxed{\\frac{1}{2}x}",
    "\\boxed{5 \\pm 1}",
    "The answer is 18 - 3.",
    "The answer is 18 + 3.",
    "The answer is 1st.",
    "The answer is the 3rd.",
    "The answer is 555-1234.",
    "The answer is 192.168.1.1.",
    "The answer is 1.2.3.",
    "The answer is 5 times as many.",
    "The answer is 5 out of 6.",
    "The answer is 1 in 4.",
    "The answer is 5 per 6.",
    "#### 5 or 6",
    "#### 2x",
    "A: 2x",
    "**2x**",
    "**5 or 6**",
    "So there are 5 or 6",
    "So it takes 2 hours and 30 minutes.",
    "So x = 2y",
    "I do not have 5.",
    "The answer is 5 dollars and 30 cents.",
    "The answer is 5 factorial.",
    "The answer is 7 mod 3.",
    "The answer is 3i.",
    "The answer is 3 + 4i.",
    "The answer is 2e.",
    "The answer is 0x1F.",
    "The answer is x.",
    "The answer is 5 mil.",
    "The answer is 15 – 20.",
    "The answer is 1,2,3.",
    "The answer is 1, 2, and 3.",
    "The answer is {1, 2}.",
    "The answer is [1, 2].",
    "The answer is ³√27.",
    "The answer is 3-4 days.",
    "The answer is 50% or 60%.",
    "The answer is $5 or $6.",
    "The answer is either 5 or 6.",
    "The answer is neither 5 nor 6.",
    "The answer is five or six.",
    "The answer is 10am.",
    "The answer is 3 o'clock.",
    "The answer is 2 thirds.",
    "The answer is 1,234,5.",
]


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
    "**Answer:** 72 clips", "\uff17\uff12", "seventy-two",
]  # fmt: skip


@pytest.mark.parametrize("gold", GOLD)
def test_gold_is_read_by_the_rules_for_responses(gold):
    assert same_answer("72", gold_answer(gold), "number")
    assert not same_answer("7", gold_answer(gold), "number")
    assert readable_gold(gold_answer(gold), "number")


@pytest.mark.parametrize("gold", ["many", "72 or 73", "2x", "3:30", ""])
def test_gold_that_states_no_number_is_not_readable(gold):
    assert not readable_gold(gold_answer(gold), "number")
