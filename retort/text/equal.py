"""Equality of answers by value: a key to group them by, and a comparison of two."""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction
from functools import lru_cache

from retort.config.data import AnswerType
from retort.text.latex import compare, expression
from retort.text.numbers import number_of

_PLAIN = re.compile(
    r"(?P<sign>[-+]?)(?:(?P<whole>\d{1,400}) )?(?P<number>\d{1,400}(?:\.\d{0,400})?|\.\d{1,400})"
    r"(?:[eE](?P<exponent>[-+]?\d{1,3}))?"
    r"(?:/(?P<bottom>\d{1,400}(?:\.\d{1,400})?))?(?P<percent>%?)"
)
_SEPARATOR = re.compile(r"(?<=\d),(?=\d{3}(?!\d))|(?<=\d),(?=\d{2},)")
_DRESS = re.compile(r"\\?\$|€|£|¥|\\left|\\right|\\!|\\,|\\;|[{]?,[}](?=\d)|\s{2,}")
_TEXT = re.compile(r"\\(?:text|textbf|mathrm|mbox|boxed)\s?\{([^{}]*)\}")
_LETTERED = re.compile(
    r"(?:option|choice|answer)?:?\s*\**[(\[]?([A-Za-z])(?:[)\].:]+\**(?:\s.*)?)?\**", re.IGNORECASE | re.DOTALL
)
"""A letter as data sets spell it: "B", "(B)", "B. the second", "Option B"."""
_LATEX_FRACTION = re.compile(r"^([-+]?)\\[dt]?frac\{(\d{1,400})\}\{(\d{1,400})\}$")


@lru_cache(maxsize=1 << 16)
def canonical(value: str, kind: AnswerType) -> str:
    """A key that answers of equal value share: 0.5, 1/2, .50 and 50 % are one answer, so are 1,000 and 1000.

    Exact: decimals are compared as fractions. "72 clips" and "x = 72" are the number that they state, for kind
    number. A value of kind number or expression that is no number has a key of its normalised text. Equivalent
    expressions may still have different keys; `same_answer` compares those.
    """
    if kind == "choice":
        lettered = _LETTERED.fullmatch(value.strip())
        return (lettered[1] if lettered else value.strip().strip("()[]{}.*:` ")).upper()
    if kind == "number" and (key := number_key(value)) is not None:
        return key
    if kind == "expression":
        number = as_fraction(value)
        return str(number) if number is not None else _plain_latex(value)
    value = _TEXT.sub(r"\1", value)
    return " ".join(unicodedata.normalize("NFKC", value).casefold().split()).strip(" .,;:!\"'`*")


def number_key(value: str) -> str | None:
    """The exact value of a number, or of the one that a short text such as "72 clips" states; None for no number."""
    number = as_fraction(value)
    if number is None and (stated := number_of(value)) is not None:
        number = as_fraction(stated)
    return None if number is None else str(number)


@lru_cache(maxsize=1 << 16)
def same_answer(a: str, b: str, kind: AnswerType, *, time_limit: float = 5.0) -> bool:
    """Whether two answers are equal in value.

    A percentage equals both readings of it: 50% = 0.5 and 50% = 50, for a question that asks "what percentage?" is
    answered either way. Expressions are compared by math-verify in a process of its own, which is ended
    after `time_limit` seconds of processor time; what could not be decided in time is not equal.
    """
    if canonical(a, kind) == canonical(b, kind):
        return True
    if kind in ("number", "expression") and a.rstrip().endswith("%") != b.rstrip().endswith("%"):
        bare = [canonical(value.rstrip().rstrip("%\\ "), kind) for value in (a, b)]
        if bare[0] == bare[1]:
            return True
    if kind == "expression":
        from retort.text.expressions import equivalent

        one, other = expression(a), expression(b)
        decided = compare(one, other)
        return equivalent(one.maths, other.maths, time_limit) if decided is None else decided
    return False


def as_fraction(value: str) -> Fraction | None:
    """The exact value of a plain number, fraction or percentage, or None."""
    if len(value) > 1000:
        return None
    text = _DRESS.sub("", value.strip()).replace("\u2212", "-").replace("\u2013", "-").strip(" $")
    text = text.replace("\\%", "%").replace(" percent", "%").replace(" %", "%")
    latex = _LATEX_FRACTION.match(text)
    if latex:
        text = f"{latex[1]}{latex[2]}/{latex[3]}"
    match = _PLAIN.fullmatch(_SEPARATOR.sub("", text).replace(" / ", "/").rstrip("."))
    if match is None or (match["whole"] and not match["bottom"]):
        return None
    number = Fraction(match["number"].rstrip(".")) * Fraction(10) ** int(match["exponent"] or 0)
    if match["bottom"]:
        bottom = Fraction(match["bottom"])
        if not bottom:
            return None
        number /= bottom
    number += int(match["whole"] or 0)
    if match["percent"]:
        number /= 100
    return -number if match["sign"] == "-" else number


def _plain_latex(value: str) -> str:
    text = value.strip().strip("$").replace("\\left", "").replace("\\right", "").replace("\\dfrac", "\\frac")
    text = text.replace("\\tfrac", "\\frac").replace("\\!", "").replace("\\,", "")
    return re.sub(r"\s+", "", text).rstrip(".")
