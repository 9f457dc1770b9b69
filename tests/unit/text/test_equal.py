import pytest

from retort.text.equal import as_fraction, canonical, same_answer


@pytest.mark.parametrize(
    "spellings",
    [
        ["0.5", "1/2", "50 %", "50%", ".50", "2/4", r"\frac{1}{2}", "5e-1"],
        ["1,000", "1000", "$1,000.00", "1000.", "1e3", "+1000"],
        ["-17", "\u221217", "-17.0"],
        ["5/2", "2 1/2", "2.5"],
        ["0", "-0", "0.00"],
    ],
)
def test_equal_numbers_share_a_key(spellings):
    assert len({canonical(spelling, "number") for spelling in spellings}) == 1


def test_comparison_is_exact():
    # as binary floating point, 0.1 + 0.2 = 0.30000000000000004 and 10^20 + 1 = 10^20
    assert canonical("0.3", "number") != canonical("0.30000000000000004", "number")
    assert canonical("100000000000000000001", "number") != canonical("100000000000000000000", "number")


def test_percentage_equals_both_of_its_readings_but_those_differ():
    assert same_answer("50%", "50", "number")
    assert same_answer("50%", "0.5", "number")
    assert not same_answer("50", "0.5", "number")


@pytest.mark.parametrize("value", ["None", "1/0", "1/0.0", "", "--3", "9" * 2000, "1e99999999999"])
def test_what_is_no_number_is_compared_as_text(value):
    assert as_fraction(value) is None
    assert same_answer(value, value, "number")
    assert not same_answer(value, "7", "number")


def test_letters_and_texts_ignore_case_and_dress():
    assert same_answer("(b)", "B", "choice")
    assert not same_answer("B", "C", "choice")
    assert same_answer(" New  York.", "new york", "text")


def test_expressions_are_equal_by_algebra():
    assert same_answer("(x+1)^2", "x^2+2x+1", "expression")
    assert same_answer(r"\dfrac{1}{2}", "0.5", "expression")
    assert not same_answer("(x+1)^2", "x^2+1", "expression")


def test_time_limit_ends_a_comparison_that_would_not_end_and_the_next_one_works():
    assert same_answer("x+1", "1+x", "expression")  # starts the process
    # without the limit this would outlast the test's own
    assert not same_answer("9^{9^{9^{9}}}", "x+2", "expression", time_limit=1.0)
    assert same_answer("2(y+1)", "2y+2", "expression")
