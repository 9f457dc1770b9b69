"""Each case states what a reader of the text would call its final answer."""

import pytest

from retort.text.extract import read_answer

NUMBERS = [
    ("16 - 3 = <<16-3=13>>13 eggs\n#### 13", "13", "hash"),
    ("#### -17", "-17", "hash"),
    ("#### $1,234.50 dollars", "1234.50", "hash"),
    ("#### 18\n\nA store sells 20 pens.\n#### 20", "18", "hash"),
    ("She eats 3 + 4 = #### 7 eggs.\n\nSo she sells 16 - 7 = #### 9 eggs.", "9", "hash"),
    ("She makes $18 a day.\nA: 18", "18", "a_line"),
    ("First 3.\nA: 1,000,000 people", "1000000", "a_line"),
    (r"Thus \[\boxed{\$1{,}234.50}\]", "1234.50", "boxed"),
    (r"\boxed{3} is wrong, so \boxed{x = \frac{3}{4}}", "3/4", "boxed"),
    ("<answer> 42 </answer>", "42", "tag"),
    ("<answer>42", "42", "tag"),
    ("So the answer is 18 dollars. She has 3 ducks left over.", "18", "statement"),
    ("Therefore, the answer is 3 + 4 = 7 apples.", "7", "statement"),
    ("**Final Answer:** about 5 km", "5", "statement"),
    ("Final answer:\n\n$-\\$5$", "-5", "statement"),
    ("The answer is 2.5 million.", "2500000", "statement"),
    (r"The answer is 1.5 \times 10^{3} m.", "1500", "statement"),
    ("The answer is 2 1/2 cups.", "5/2", "statement"),
    ("The answer is 50%.", "50%", "statement"),
    ("The answer is .5", ".5", "statement"),
    ("It is 3 a day.\n\nSo she makes **$18** per day for 7 days.", "18", "bold"),
    ("#### 1. Count them\nThree.\n#### 2. Add them\nIt is 12.", "12", "last_number"),
    ("It costs \u20ac1.000 or so: 7 \u2212 9 = \u22122", "-2", "last_number"),
    ("That leaves 10 -3", "3", "last_number"),
    ("<think>The answer is 5</think>\nThe answer is 6.", "6", "statement"),
    ("The answer is 18.\n\nQuestion: Tom has 5 pens.\nAnswer: The answer is 20.", "18", "statement"),
    ("18 in all\nQ: next one?\nA: 20", "18", "last_number"),
    ("**Question:** restated\n**Answer:** 7", "7", "statement"),
]


@pytest.mark.parametrize(("text", "value", "rule"), NUMBERS)
def test_number_is_read_by_the_first_rule_that_applies(text, value, rule):
    answer = read_answer(text, "number")
    assert answer is not None
    assert (answer.value.lstrip("0") or "0", answer.rule) == (value, rule)


@pytest.mark.parametrize(
    "text",
    ["", "   \n", "no digits", "<think> so 7", "We meet at 3:30", "I came 1st", "see x1", "#### none", "9" * 500],
)
def test_no_number_is_read_where_none_is_stated(text):
    assert read_answer(text, "number") is None


CHOICES = [
    ("The answer is (B).", "B", "statement"),
    ("The correct answer is: **C. Paris**", "C", "statement"),
    ("Answer: D. False, True", "D", "statement"),
    ("Final Answer:\nThe answer is `H. BMI > 25`.", "H", "statement"),
    (r"The final answer is $\boxed{\text{(E)}}$", "E", "statement"),
    ("The answer is (A). No, the answer is (B).", "B", "statement"),
    ("The answer is (B) and (F).", "B", "several"),
    (r"Hence \boxed{\textbf{(E) }0}", "E", "boxed"),
    ("Adding up gives 19.8 J. The closest option is (G).", "G", "option"),
    ("Therefore, (D) is the correct answer, by far", "D", "option"),
    ("This corresponds to option **C** here", "C", "option"),
    ("This matches option C.", "C", "option"),
    ("The style is judged, not substance. One would call it (H).", "H", "closing"),
    ("(C)", "C", "closing"),
    ("C. Paris", "C", "closing"),
    ("The answer is (D).\n\nQuestion: other?\nThe answer is (E).", "D", "statement"),
]


@pytest.mark.parametrize(("text", "letter", "rule"), CHOICES)
def test_letter_is_read_by_the_first_rule_that_applies(text, letter, rule):
    answer = read_answer(text, "choice")
    assert answer is not None
    assert (answer.value, answer.rule) == (letter, rule)
    assert text[answer.start : answer.end] == letter


@pytest.mark.parametrize(
    "text",
    [
        "The answer is A large number of people.",
        "The answer is Increasing returns.",
        "The answer is not among the options.",
        "The answer is (None of the above).",
        "It is true of both (B) and (C).",
        "The acceleration A is found from F = mA, and E = mc",
        "A. makes sense\nB. does not\nC. is cut of",
        "",
    ],
)
def test_no_letter_is_guessed(text):
    assert read_answer(text, "choice") is None


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        (r"so \boxed{\frac{x^2}{2} + 1}", "expression", r"\frac{x^2}{2} + 1"),
        (r"The answer is $2\pi$.", "expression", r"2\pi"),
        ("We get $a=1$ and then $x + 1$.", "expression", "x + 1"),
        ("no formula", "expression", None),
        ("**Answer:** Paris.", "text", "Paris"),
        ("Paris", "text", "Paris"),
        ("Two lines\nand no answer", "text", None),
    ],
)
def test_expressions_and_texts_are_read_without_markup(text, kind, value):
    answer = read_answer(text, kind)
    assert (answer.value if answer else None) == value


def test_span_points_at_what_stated_the_answer():
    text = "She has 3. The answer is $1,000 now."
    answer = read_answer(text, "number")
    assert answer is not None
    assert text[answer.start : answer.end] == "$1,000"
