r"""Quantities: numerals with what belongs to them, evaluated exactly.

A sign and a currency before; fractions, mixed numbers, powers, roots, factorials, products and quotients; percent and
words of magnitude behind. `read_quantity` reads as much as belongs together; whether what follows leaves it a number
of its own is for `retort.text.numbers` to say. Sums are not evaluated: "5 - 3" may be a range.
"""

from __future__ import annotations

import re
from fractions import Fraction
from math import factorial, isqrt
from typing import NamedTuple

from retort.text.number_words import MAGNITUDES, SIGNS
from retort.text.numerals import Prepared, read_numeral

VULGAR = {
    "½": (1, 2), "⅓": (1, 3), "⅔": (2, 3), "¼": (1, 4), "¾": (3, 4), "⅕": (1, 5), "⅖": (2, 5), "⅗": (3, 5),
    "⅘": (4, 5), "⅙": (1, 6), "⅚": (5, 6), "⅐": (1, 7), "⅛": (1, 8), "⅜": (3, 8), "⅝": (5, 8), "⅞": (7, 8),
    "⅑": (1, 9), "⅒": (1, 10),
}  # fmt: skip
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺₀₁₂₃₄₅₆₇₈₉", "0123456789-+0123456789")
_UP = "⁰¹²³⁴⁵⁶⁷⁸⁹"
CURRENCY = (
    r"(?:(?:US|AU|NZ|HK|CA|C|A|R|S)?\\?\$|[€£¥₹₽₩₪₫฿₴₺₦¢]|\\(?:euro|pounds|yen)\b"
    r"|\b(?:USD|EUR|GBP|INR|JPY|CNY|CHF|RMB|AUD|CAD)|\bRs\.?)"
)
_SIGN = re.compile(rf"(?P<sign>[-+\u2013]?)[ ]?(?:{CURRENCY}[ ]?(?P<behind>-?))?+")
_WORD_SIGN = re.compile(r"(?:minus|negative)[ ]", re.IGNORECASE)
_FRACTION = re.compile(r"\\[dt]?frac[ ]?(?:(?P<top>\d)[ ]?(?P<bottom>\d)(?!\d)|(?P<open>\{)|(?P<first>\d)[ ]?(?=\{))")
_ROOT = re.compile(r"\\sqrt[ ]?(?:\[[ ]?(?P<degree>\d)[ ]?\])?[ ]?(?=\{|\d)|(?P<sign>[√∛∜])[ ]?")
_ROOT_WORDS = re.compile(r"(?:the[ ])?(?P<word>square|cube)[ ]root[ ]of[ ]", re.IGNORECASE)
_POWER = re.compile(
    rf"[ ]?\^[ ]?(?:\{{[ ]?(?P<braced>[-+]?\d{{1,4}})[ ]?\}}|(?P<bare>[-+]?\d{{1,4}}))|(?P<raised>[⁻⁺]?[{_UP}]{{1,4}})"
)
_POWER_WORDS = re.compile(r"[ ](?P<word>squared|cubed)\b")
_RAISED_FRACTION = re.compile(rf"[ ]?(?P<top>[{_UP}]{{1,6}})[/\u2044](?P<bottom>[₀₁₂₃₄₅₆₇₈₉]{{1,6}})")
_MIXED = re.compile(
    r"(?:[ ]|[ ](?:and|&)[ ]|[ ]?\\,|[ ]?\\ )(?P<top>\d{1,6})[ ]?/[ ]?(?P<bottom>\d{1,6})(?!\d|[/.,]\d)", re.ASCII
)
_AND_A = re.compile(r"[ ]and[ ](?:a|one)[ -](?P<part>half|third|quarter)\b")
_OVER = re.compile(r"[ ]?/[ ]?(?=[\d\\√.])(?!\\\))")
_TIMES = re.compile(
    r"(?:[ ]?(?:×|·|⋅|∙|\\times|\\cdot|\\ast)[ ]?|[ ]?\*(?!\*)[ ]?|[ ][xX][ ](?=10[ ]?\^|10[⁻⁰¹²³⁴⁵⁶⁷⁸⁹])"
    r"|[xX](?=10\^)|(?P<divided>[ ]?(?:÷|\\div)[ ]?))(?=[-(\\√\d]|\.\d)"
)
_EXPONENT = re.compile(r"[eE](?P<exponent>[-+]?\d{1,3})(?!\w|\.\d)", re.ASCII)
_FACTORIAL = re.compile(r"!(?=[.,;:)}\]\\$+*/^×·=-]|[ ]?[=+×*])(?!!)")
_PERCENT = re.compile(r"[*_$ ]{0,3}(?:\\?%|percent\b|per[ ]cent\b|pct\b)")
_GAP = r"(?:\\text\{|\\mathrm\{|\\[ ,;~!]|[*_`$)}\]\\ ~-]){0,6}"
_MAGNITUDE = re.compile(rf"{_GAP}(?P<word>[^\W\d_]{{2,12}})(?![^\W\d_])")
_LETTER = re.compile(r"(?P<letter>[kKMB])(?![A-Za-z\d])")
_PRICE_LETTER = re.compile(r"[ ]?(?P<letter>[kKmMbBtT])(?![A-Za-z\d])")
_MIL = re.compile(r"m(?=[ ](?:dollars|euros|pounds|people|users|inhabitants)\b)")
_LETTERS = {"k": 10**3, "m": 10**6, "b": 10**9, "t": 10**12}
_SIGNS = re.compile(rf"[ ]?(?P<sign>[{''.join(SIGNS)}])(?![{''.join(SIGNS)}\d])")
_DIGIT = re.compile(r"\.?\d", re.ASCII)
_LARGEST = 10**120
_DEEPEST = 3


class Quantity(NamedTuple):
    """A value that was read whole, with a spelling of its own."""

    value: Fraction
    spelling: str
    """As the numeral was written ("1234.50", "1/4"), where it is nothing else."""
    end: int
    percent: bool = False
    integer: bool = False
    """Whether it is a bare integer, which "5!" may exclaim."""


def read_quantity(prepared: Prepared, start: int, end: int, depth: int = 0) -> Quantity | None:
    """The quantity at `start`: None where none begins there, or where it cannot be read whole."""
    text = prepared.text
    place, negative, priced = start, False, False
    words = _WORD_SIGN.match(text, place, end)
    if words:
        place, negative = words.end(), True
    match = _SIGN.match(text, place, end)
    if match:
        place, priced = match.end(), len(match.group().strip(" -+\u2013")) > 0
        negative ^= (match["sign"] in ("-", "\u2013")) ^ bool(match["behind"])
    if place >= end:
        return None
    found = _product(prepared, place, end, depth)
    if found is None:
        return None
    found = _scaled(text, found._replace(integer=found.integer and not priced), end, priced=priced)
    percent = _PERCENT.match(text, found.end, end)
    if percent:
        found = found._replace(percent=True, end=percent.end())
    if abs(found.value) > _LARGEST:
        return None
    return found._replace(value=-found.value, spelling=_negated(found.spelling)) if negative else found


def spelled(value: Fraction) -> str:
    """A computed value: an integer, or a fraction in lowest terms."""
    return str(value)


def _negated(spelling: str) -> str:
    return spelling[1:] if spelling.startswith("-") else f"-{spelling}"


def _computed(value: Fraction, end: int) -> Quantity:
    return Quantity(value, spelled(value), end)


def _product(prepared: Prepared, start: int, end: int, depth: int) -> Quantity | None:
    """Factors one after another, each with its powers: 3.2 × 10⁵, 2·3, 10 ÷ 2."""
    found = _factor(prepared, start, end, depth)
    for _ in range(16):
        if found is None:
            return None
        times = _TIMES.match(prepared.text, found.end, end)
        if times is None:
            return found
        place = times.end() + (prepared.text[times.end()] == "-")
        other = _factor(prepared, place, end, depth)
        if other is None or (times["divided"] and not other.value) or abs(found.value) > _LARGEST:
            return None
        value = found.value / other.value if times["divided"] else found.value * other.value
        found = _computed(-value if place > times.end() else value, other.end)
    return None


def _factor(prepared: Prepared, start: int, end: int, depth: int) -> Quantity | None:
    found = _atom(prepared, start, end, depth)
    if found is None:
        return None
    text = prepared.text
    found = _raised(text, found, end)
    if found is None:
        return None
    over = _OVER.match(text, found.end, end)
    if over is None:
        return found
    bottom = _atom(prepared, over.end(), end, depth)
    raised = None if bottom is None else _raised(text, bottom, end)
    # 10/2/5 and 3/4/2024 may be dates
    if raised is None or not raised.value or re.compile(r"[ ]?/[ ]?\d").match(text, raised.end, end):
        return None
    plain = found.spelling.isdigit() and raised.spelling.isdigit()
    value = found.value / raised.value
    spelling = f"{found.spelling}/{raised.spelling}" if plain else spelled(value)
    return Quantity(value, spelling, raised.end)


def _raised(text: str, found: Quantity, end: int) -> Quantity | None:
    """With what is raised or exclaimed behind it; None where the power is too large to be meant."""
    powered = False
    for _ in range(3):
        power, exclaimed = _POWER.match(text, found.end, end), _FACTORIAL.match(text, found.end, end + 1)
        words = _POWER_WORDS.match(text, found.end, end)
        if power and powered:  # 2^3^2 is 2^9, not 8^2
            return None
        powered = power is not None
        if power:
            exponent = int((power["braced"] or power["bare"] or power["raised"]).translate(_RAISED))
            size = found.value.numerator.bit_length() + found.value.denominator.bit_length()
            if abs(exponent) * size > 1000 or (not found.value and exponent <= 0):
                return None
            found = _computed(found.value**exponent, power.end())
        elif words:
            found = _computed(found.value ** (2 if words["word"] == "squared" else 3), words.end())
        elif exclaimed and found.integer:
            if found.value > 60:
                return None
            found = _computed(Fraction(factorial(int(found.value))), exclaimed.end())
        else:
            return found
    return None


def _atom(prepared: Prepared, start: int, end: int, depth: int) -> Quantity | None:
    text = prepared.text
    if start >= end or depth > _DEEPEST:
        return None
    character = text[start]
    if character == "\\":
        found = _latex(prepared, start, end, depth)
    elif character in "√∛∜tTsScC":
        found = _root(prepared, start, end, depth)
    elif character == "(":
        found = _in_brackets(prepared, start, "()", end, depth)
    elif character in VULGAR:
        found = _computed(Fraction(*VULGAR[character]), start + 1)
    elif raised := _RAISED_FRACTION.match(text, start, end):
        found = _computed(_ratio(raised), raised.end())
    elif _DIGIT.match(text, start, end):
        found = _number(prepared, start, end, depth)
    else:
        found = None
    return found


def _number(prepared: Prepared, start: int, end: int, depth: int) -> Quantity | None:
    """A numeral with its exponent, or with the fraction of a mixed number."""
    text = prepared.text
    numeral = read_numeral(prepared, start, end)
    if numeral is None:
        return None
    value, place = Fraction(numeral.plain), numeral.end
    exponent = _EXPONENT.match(text, place, end)
    if exponent:
        return _computed(value * Fraction(10) ** int(exponent["exponent"]), exponent.end())
    if value.denominator == 1 and "." not in numeral.plain:
        part = _part_behind(prepared, place, end, depth)
        if part is not None:
            return _computed(value + part.value, part.end)
    return Quantity(value, numeral.plain, place, integer="." not in numeral.plain and "/" not in numeral.plain)


def _part_behind(prepared: Prepared, place: int, end: int, depth: int) -> Quantity | None:
    """The fraction of a mixed number: 2½, 2 1/2, 2\\frac{1}{2}, "2 and a half"."""
    text = prepared.text
    gap = place + (text[place : place + 1] == " ")
    if text[gap : gap + 1] in VULGAR and text[gap : gap + 1]:
        return _computed(Fraction(*VULGAR[text[gap]]), gap + 1)
    if text.startswith("\\", gap) and _FRACTION.match(text, gap, end):
        part = _latex(prepared, gap, end, depth)
        return part if part is not None and 0 < part.value < 1 else None
    match = _MIXED.match(text, place, end)
    if match:
        return _computed(_ratio(match), match.end()) if 0 < int(match["top"]) < int(match["bottom"]) else None
    raised = _RAISED_FRACTION.match(text, place, end)
    if raised:
        return _computed(_ratio(raised), raised.end())
    words = _AND_A.match(text, place, end)
    return _computed(Fraction(1, {"half": 2, "third": 3, "quarter": 4}[words["part"]]), words.end()) if words else None


def _ratio(match: re.Match[str]) -> Fraction:
    bottom = int(match["bottom"].translate(_RAISED))
    return Fraction(int(match["top"].translate(_RAISED)), bottom) if bottom else Fraction(0)


def _latex(prepared: Prepared, start: int, end: int, depth: int) -> Quantity | None:
    text = prepared.text
    fraction = _FRACTION.match(text, start, end)
    if fraction is None:
        return _root(prepared, start, end, depth)
    if fraction["top"]:
        top, bottom = Quantity(Fraction(int(fraction["top"])), fraction["top"], 0), fraction["bottom"]
        below: Quantity | None = Quantity(Fraction(int(bottom)), bottom, fraction.end())
    else:
        first = fraction["first"]
        above = (
            Quantity(Fraction(int(first)), first, fraction.end())
            if first
            else _in_brackets(prepared, fraction.end() - 1, "{}", end, depth)
        )
        if above is None:
            return None
        place = above.end + (text[above.end : above.end + 1] == " ")
        top, below = above, None
        if text.startswith("{", place):
            below = _in_brackets(prepared, place, "{}", end, depth)
        elif text[place : place + 1].isdigit():
            below = Quantity(Fraction(int(text[place])), text[place], place + 1)
    if below is None or not below.value:
        return None
    plain = top.spelling.lstrip("-").isdigit() and below.spelling.isdigit()
    value = top.value / below.value
    return Quantity(value, f"{top.spelling}/{below.spelling}" if plain else spelled(value), below.end)


def _root(prepared: Prepared, start: int, end: int, depth: int) -> Quantity | None:
    """A root whose value is rational; others are no number here."""
    text = prepared.text
    match = _ROOT.match(text, start, end) or _ROOT_WORDS.match(text, start, end)
    if match is None:
        return None
    names = match.groupdict()
    degree = int(names.get("degree") or 2)
    degree = {"∛": 3, "∜": 4}.get(names.get("sign") or "", degree)
    degree = 3 if (names.get("word") or "").lower() == "cube" else degree
    place = match.end()
    bracket = {"{": "{}", "(": "()"}.get(text[place : place + 1])
    inner = _in_brackets(prepared, place, bracket, end, depth) if bracket else _atom(prepared, place, end, depth + 1)
    if inner is None or inner.value < 0:
        return None
    top, bottom = _exact_root(inner.value.numerator, degree), _exact_root(inner.value.denominator, degree)
    return None if top is None or bottom is None else _computed(Fraction(top, bottom), inner.end)


def _exact_root(number: int, degree: int) -> int | None:
    if degree == 2:
        root = isqrt(number)
    else:
        root = round(float(number) ** (1 / degree)) if degree and number < 10**15 else -1
    return root if degree and root >= 0 and root**degree == number else None


def _in_brackets(prepared: Prepared, start: int, brackets: str, end: int, depth: int) -> Quantity | None:
    """A quantity that is all that stands in brackets."""
    text = prepared.text
    place = start + 1 + (text[start + 1 : start + 2] == " ")
    inner = read_quantity(prepared, place, min(end, start + 100), depth + 1)
    if inner is None or inner.percent:
        return None
    close = inner.end + (text[inner.end : inner.end + 1] == " ")
    return inner._replace(end=close + 1) if text.startswith(brackets[1], close) and close < end else None


def _scaled(text: str, found: Quantity, end: int, *, priced: bool) -> Quantity:
    """With a word or letter of magnitude behind it."""
    letters = (_PRICE_LETTER if priced else _LETTER).match(text, found.end, end) or _MIL.match(text, found.end, end)
    if letters:
        letter = letters.groupdict().get("letter") or "m"
        return _computed(found.value * _LETTERS[letter.lower()], letters.end())
    sign = _SIGNS.match(text, found.end, end)
    if sign:
        return _computed(found.value * SIGNS[sign["sign"]], sign.end())
    for _ in range(2):
        word = _MAGNITUDE.match(text, found.end, end)
        factor = MAGNITUDES.get(word["word"].lower()) if word else None
        if word is None or factor is None:
            break
        found = _computed(found.value * factor, word.end())
    return found
