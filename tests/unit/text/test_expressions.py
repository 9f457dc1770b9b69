"""Expressions: never equal what differs, and more of what is equal; both orders alike."""

import time

import pytest

from retort.text.equal import same_answer
from retort.text.latex import expression

EQUAL = [
    ("\\frac{x}{2}", "0.5x"),
    ("(x+1)^2", "x^2+2x+1"),
    ("\\sqrt{8}", "2\\sqrt{2}"),
    ("\\text{Evelyn}", "Evelyn"),
    ("\\mathrm{e}^{2}", "e^2"),
    ("50\\text{ mm}", "5\\text{ cm}"),
    ("90^\\circ", "90"),
    ("90^{\\circ}", "90 degrees"),
    ("5\\text{ square units}", "5"),
    ("12\\text{ cm}^2", "12 \\text{ cm}^{2}"),
    ("\\text{no solution}", "\\varnothing"),
    ("no solutions", "\\emptyset"),
    ("x=5", "5"),
    ("\\{1,2\\}", "\\{2,1\\}"),
    ("1,2", "2,1"),
    ("\\frac{\\pi}{2}", "\\pi/2"),
    ("2\\pi r", "2r\\pi"),
    ("[1,2)", "[1,2)"),
    ("\\left(1,2\\right)", "(1,2)"),
    ("x \\in [1,2]", "[1,2]"),
    ("2^{10}", "1024"),
    ("10_{2}", "2"),
    ("0.\\overline{142857}", "\\frac17"),
    ("1.2\\overline{3}", "37/30"),
    ("\\infty", "+\\infty"),
    ("-\\frac12", "-0.5"),
    ("\\frac{-1}{2}", "-\\frac{1}{2}"),
    ("\\begin{pmatrix}1\\\\2\\end{pmatrix}", "\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}"),
    ("\\sqrt{2}/2", "\\frac{1}{\\sqrt2}"),
    ("\\log_2 8", "3"),
    ("y=2x+1", "y=1+2x"),
    ("\\$5", "5"),
    ("5\\%", "0.05"),
    ("3\\frac12", "3.5"),
    ("1{,}000", "1000"),
    ("1,000", "1000"),
    ("5 \\text{ dollars}", "5"),
    ("5\\text{ meters}", "5\\text{ m}"),
    ("\\text{(B)}", "B"),
    ("x^2+3x", "3x+x^2"),
    ("7!", "5040"),
    ("\\binom{5}{2}", "10"),
    ("1+2i", "2i+1"),
    ("\\text{Monday}", "monday"),
    ("(-\\infty, 2)", "(-\\infty,2)"),
    ("x<5", "5>x"),
    ("n(n+1)/2", "\\frac{n^2+n}{2}"),
    ("0.\\overline{3}", "\\frac13"),
    ("0.1\\overline{6}", "\\frac16"),
    ("5 dollars", "5"),
    ("\\text{no solution}", "\\emptyset"),
    ("101_2", "5"),
]
DIFFERENT = [
    ("(1,2)", "[1,2]"),
    ("x<5", "x>5"),
    ("x\\le 5", "x<5"),
    ("\\pi", "3.14"),
    ("\\pi", "3.14159"),
    ("\\sqrt{2}", "1.414"),
    ("x", "y"),
    ("e^{-50}", "e^{-60}"),
    ("\\sqrt{2}\\times10^{-20}", "\\sqrt{3}\\times10^{-20}"),
    ("\\frac{x}{2^{98}}", "\\frac{x}{2^{99}}"),
    ("5\\text{ kg}", "5\\text{ g}"),
    ("5^\\circ", "5\\text{ rad}"),
    ("1+\\mathrm{e}", "1"),
    ("3\\mathrm{i}", "3"),
    ("101_2", "101_3"),
    ("1011_2", "1011"),
    ("\\text{Evelyn}", "\\text{Evan}"),
    ("\\text{even}", "\\text{odd}"),
    ("\\text{no solution}", "0"),
    ("\\emptyset", "0"),
    ("x=5", "y=5"),
    ("x=5", "x=6"),
    ("1/3", "0.33"),
    ("1/3", "0.333333"),
    ("10^{-10}", "10^{-11}"),
    ("10^{-10}", "0"),
    ("\\{1,2\\}", "\\{1,3\\}"),
    ("(1,2)", "(2,1)"),
    ("5\\text{ cm}^2", "5\\text{ cm}^3"),
    ("5\\text{ m}", "5\\text{ min}"),
    ("a+b", "a-b"),
    ("1+\\ln 2", "1"),
    ("\\frac{1}{3}\\text{ hour}", "\\frac13\\text{ minute}"),
    ("\\text{undefined}", "\\infty"),
    ("1.0000001", "1"),
    ("\\frac{1}{10^{30}}", "\\frac{2}{10^{30}}"),
    ("f(2)", "f(3)"),
    ("A", "B"),
    ("x_1", "x_2"),
    ("AB", "CD"),
    ("\\hbar", "h"),
    ("5\\%", "5\\text{ cm}"),
    ("\\vec{a}", "\\vec{b}"),
    ("\\overline{AB}", "\\overline{CD}"),
    ("3+4\\mathbf{i}", "3+4\\mathbf{j}"),
    ("2\\text{ and }3", "2\\text{ and }4"),
    ("1\\times10^{-15}+\\pi", "\\pi"),
    ("x+10^{-9}", "x"),
    ("1+\\frac{1}{\\mathrm{e}}", "1-\\frac{1}{\\mathrm{e}}"),
    ("2+\\mathrm{e}", "2-\\mathrm{e}"),
    ("1+\\mathrm{i}", "1-\\mathrm{i}"),
    ("\\frac{1}{2^{98}}", "\\frac{1}{2^{99}}"),
    ("\\frac{1}{52!}", "\\frac{1}{51!}"),
    ("6.626\\times10^{-34}", "1.6\\times10^{-19}"),
    ("101_2", "101"),
    ("12_{5}", "12_{7}"),
    ("5\\text{ cm}", "5\\text{ m}"),
]


@pytest.mark.parametrize(("one", "other"), EQUAL)
def test_equal_expressions_are_equal_in_both_orders(one, other):
    assert same_answer(one, other, "expression")
    assert same_answer(other, one, "expression")


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_different_expressions_are_different_in_both_orders(one, other):
    assert not same_answer(one, other, "expression")
    assert not same_answer(other, one, "expression")


def test_texts_are_equal_without_their_latex():
    assert same_answer("\\text{Evelyn}", "evelyn", "text")


@pytest.mark.parametrize("piece", ["1", "{", "\\text{", "a ", "1,", "0.\\overline{3}", " ", "\\frac", "5 cm", "_2"])
def test_expressions_are_prepared_in_linear_time(piece):
    started = time.process_time()
    for length in (1_999, 200_000):
        expression(piece * (length // len(piece)))
    assert time.process_time() - started < 0.5
