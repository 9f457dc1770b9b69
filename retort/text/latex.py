r"""Expressions before they are compared by algebra: what can be decided without it, and what it would misread.

math-verify drops what it does not know (`1+\mathrm{e}` is 1 to it, `5\text{ cm}` is 5, `101_2` is 101) and compares
numbers within a tolerance, so that small ones are all alike. Here constants, repeating decimals, bases, units, words
and "no solution" get a meaning first, and two numbers are compared exactly.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from retort.text.expression_forms import brackets, modulus, money, number_in_words, one_form
from retort.text.numerals import prepare
from retort.text.quantities import read_quantity

_UPRIGHT = re.compile(r"\\(?:mathrm|mathit|mathsf|operatorname|rm|text)\s?\{\s?([eid\u03c0])\s?\}")
_SPACE = re.compile(
    r"(?<!\\)\\[,;:!]|(?<!\\)\\ |\\quad|\\qquad|~|\\displaystyle|\\left(?![a-z])|\\right(?![a-z])|\\limits"
)
_DOLLARS = re.compile(r"^\s*(?:\$\$?|\\\(|\\\[)?(.*?)(?:\$\$?|\\\)|\\\])?\s*\.?\s*$", re.DOTALL)
_REPEATING = re.compile(r"(?<![\d.])(\d{1,40})\.(\d{0,40})\\(?:overline|bar|dot)\s?\{?(\d{1,40})\}?")
_BASE = re.compile(r"\(?([0-9A-Fa-f]{1,60})\)?_\{?(?:\\text\{)?\s?(\d{1,2})\}{0,2}")
_TEXT = re.compile(r"\\(?:text|textbf|textit|mathrm|mbox|mathbf|texttt)\s?\{([^{}]*)\}")
_WORDS = re.compile(r"[^\W\d_][^\W\d_.'\u2019-]*(?:[\s,-]+[^\W\d_][^\W\d_.'\u2019-]*)*\.?", re.UNICODE)
_UNIT = re.compile(
    r"(?P<number>.*[\d)}\u03c0i!])\s*(?:\\(?:text|mathrm|textrm|mbox"
    r"|rm)\s?\{\s*(?P<dressed>[A-Za-z\u00b5\u03bc\u00b0/ .^0-9-]{1,40})\}"
    r"|\s(?P<bare>[A-Za-z]{2,20}(?:\s[a-z]{2,20})?)|(?P<degrees>\^\{?\s?\\circ\s?\}?|\u00b0"
    r"|\\degree))(?P<power>\^\{?[23]\}?)?",
    re.DOTALL,
)
_NO_SOLUTION = re.compile(
    r"(?:there (?:is|are) )?no (?:real |integer |such |possible )?(?:solutions?|values?|roots?|numbers?)"
    r"|\\emptyset|\\varnothing|"
    r"\\\{\s?\\\}|\u2205|none|empty set|the empty set|\\phi(?=\Z)"
)
_UNDEFINED = re.compile(r"undefined|does not exist|dne|not defined")
_MATHS_WORDS = frozenset(
    [
        "sin",
        "cos",
        "tan",
        "log",
        "ln",
        "exp",
        "sqrt",
        "pi",
        "mod",
        "max",
        "min",
        "lim",
        "det",
        "gcd",
        "lcm",
        "arcsin",
        "arccos",
        "arctan",
        "sec",
        "csc",
        "cot",
    ]
)
_FACTORS: dict[str, tuple[str, Fraction]] = {
    "mm": ("m", Fraction(1, 1000)), "cm": ("m", Fraction(1, 100)), "m": ("m", Fraction(1)), "km": ("m", Fraction(1000)),
    "mg": ("g", Fraction(1, 1000)), "g": ("g", Fraction(1)), "kg": ("g", Fraction(1000)),
    "ms": ("s", Fraction(1, 1000)), "s": ("s", Fraction(1)), "min": ("s", Fraction(60)), "h": ("s", Fraction(3600)),
    "ml": ("l", Fraction(1, 1000)), "l": ("l", Fraction(1)), "in": ("in", Fraction(1)), "ft": ("in", Fraction(12)),
    "yd": ("in", Fraction(36)), "cent": ("dollar", Fraction(1, 100)), "dollar": ("dollar", Fraction(1)),
}  # fmt: skip
_NAMES = {
    "millimeter": "mm", "centimeter": "cm", "meter": "m", "kilometer": "km", "millimetre": "mm", "centimetre": "cm",
    "metre": "m", "kilometre": "km", "milligram": "mg", "gram": "g", "kilogram": "kg", "second": "s", "sec": "s",
    "minute": "min", "hour": "h", "hr": "h", "milliliter": "ml", "millilitre": "ml", "liter": "l", "litre": "l",
    "inch": "in", "inche": "in", "foot": "ft", "feet": "ft", "yard": "yd", "degree": "deg", "\u00b0": "deg",
}  # fmt: skip
_SPACES = re.compile(r"\s+")
_VARIABLE_BEHIND = re.compile(r"\d\s?[kKMBbTt]\b")
_LONGEST = 2000


@dataclass(frozen=True)
class Expression:
    """An expression with its meaning, as far as it is plain."""

    maths: str
    """What is left for algebra: without dress, unit and words."""
    value: Fraction | None = None
    """Exact, of a plain number; without its unit."""
    unit: str = ""
    words: str = ""
    """The text, where the expression is nothing but words; "no solution" for all ways of saying so."""


def expression(text: str) -> Expression:
    """What an expression says; time is linear in its length.

    Args:
        text: LaTeX or plain, with or without dollars around it.
    """
    if len(text) > _LONGEST:
        return Expression(text)
    plain = _DOLLARS.sub(r"\1", text)
    plain = _SPACE.sub(" ", _UPRIGHT.sub(r" \1 ", plain)).strip()
    plain = plain.replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac").replace("\u2212", "-")
    plain = number_in_words(one_form(plain))
    words = _words(plain)
    if words:
        return Expression(plain, words=words)
    plain = _REPEATING.sub(lambda match: f"({_repeating(*match.groups())})", plain)
    base = _BASE.fullmatch(plain)
    if base:
        value = _in_base(base[1], int(base[2]))
        return Expression(plain, value=value, words="" if value is not None else plain)
    maths, unit = modulus(plain)
    if not unit:
        maths, unit = money(plain)
    if not unit:
        maths, unit = _without_unit(plain)
    return Expression(maths, _value(maths), unit)


def compare(a: Expression, b: Expression) -> bool | None:
    """Whether two expressions are equal; None where algebra has to say."""
    if a.words or b.words:
        # "Yes" without \\text is short enough to be a product of variables, until it is compared with words.
        return (a.words or _bare(a.maths)) == (b.words or _bare(b.maths))
    if a.value is not None and b.value is not None:
        return _scaled(a, b) if a.unit and b.unit else a.value == b.value
    if a.unit and b.unit and a.unit != b.unit:
        return False
    kinds = brackets(a.maths), brackets(b.maths)
    if all(kinds) and kinds[0] != kinds[1]:  # a pair is no set
        return False
    return True if _SPACES.sub("", a.maths) == _SPACES.sub("", b.maths) else None


def _bare(maths: str) -> str:
    return " ".join(maths.split()).casefold().rstrip(".")


def _scaled(a: Expression, b: Expression) -> bool:
    """Values with their units: 50 mm are 5 cm; units that are not known must be the same."""
    assert a.value is not None
    assert b.value is not None
    one, other = _measure(a.unit), _measure(b.unit)
    return one[0] == other[0] and a.value * one[1] == b.value * other[1]


def _measure(unit: str) -> tuple[str, Fraction]:
    name, _, power = unit.partition("^")
    base, factor = _FACTORS.get(name, (name, Fraction(1)))
    return f"{base}^{power}", factor ** int(power or 1)


def _words(plain: str) -> str:
    """The text of an expression of words alone; empty where it may be mathematics."""
    dressed = _TEXT.search(plain) is not None
    bare = " ".join(_TEXT.sub(r"\1", plain).replace("{", " ").replace("}", " ").split()).casefold().rstrip(".")
    if _NO_SOLUTION.fullmatch(" ".join(_TEXT.sub(r"\1", plain).split()).casefold().rstrip(".")):
        return "no solution"
    if _UNDEFINED.fullmatch(bare):
        return "undefined"
    if not _WORDS.fullmatch(bare) or bare in _MATHS_WORDS:
        return ""
    longest = max(len(word) for word in re.split(r"[\s,-]+", bare))
    return bare if (dressed and _TEXT.sub("", plain).strip(" {}.,") == "") or longest > 4 else ""


def _without_unit(plain: str) -> tuple[str, str]:
    match = _UNIT.fullmatch(plain)
    if match is None:
        return plain, ""
    bare = match["bare"]
    if bare and (bare in _MATHS_WORDS or len(bare) < 2):
        return plain, ""
    name = "deg" if match["degrees"] else " ".join((match["dressed"] or bare or "").lower().split()).rstrip(".")
    power = re.sub(r"\D", "", match["power"] or "")
    inner = re.fullmatch(r"(.*?)\^?([23])", name)
    if inner and not power:
        name, power = inner[1].rstrip("^ "), inner[2]
    for word, exponent in (("square ", "2"), ("sq ", "2"), ("cubic ", "3"), ("cu ", "3")):
        if name.startswith(word):
            name, power = name.removeprefix(word), exponent
    single = name if name in ("s", "ms") or name.endswith("ss") else name.removesuffix("s")
    name = _NAMES.get(single, _NAMES.get(name, single if single in _FACTORS or len(single) > 2 else name))
    return match["number"].strip(), name + (f"^{power}" if power else "")


def _value(maths: str) -> Fraction | None:
    """The exact value of a plain number, fraction, power, product or root."""
    text = maths.strip().strip("$")
    if re.fullmatch(r"-?\(.*\)", text):
        text = text.replace("(", "", 1)[::-1].replace(")", "", 1)[::-1]
    # 5k is five times k here, and not five thousand
    if "," in text or not text or _VARIABLE_BEHIND.search(text):
        return None
    prepared = prepare(text)
    found = read_quantity(prepared, 0, len(text))
    if found is None or found.end != len(text):
        return None
    return found.value / 100 if found.percent else found.value


def _repeating(whole: str, once: str, period: str) -> str:
    """0.1 and 6: (16 - 1) / 90."""
    value = Fraction(int(f"{whole}{once}{period}") - int(f"{whole}{once}"), 10 ** len(once) * (10 ** len(period) - 1))
    return f"{value.numerator}/{value.denominator}"


def _in_base(digits: str, base: int) -> Fraction | None:
    try:
        return Fraction(int(digits, base)) if 2 <= base <= 36 else None
    except ValueError:
        return None
