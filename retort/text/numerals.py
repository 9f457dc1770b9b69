"""Written numerals: digits of any script, in groups, with decimals, as a text's own numbers spell them.

"1,234" is a thousand and more in most texts and a little over one in those that write "3,50"; a `Style` holds what
the other numbers of a text say about its commas, points and spaces. What neither they nor the numeral decide is
refused, not guessed.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

_LAST_DIGIT = 0x1FBF9
"""The last digit of Unicode 16."""


def _plain_characters() -> dict[int, str]:
    """Each digit of another script, and each wide or typographic sign, with the ASCII character it stands for."""
    table = {}
    for code in range(0x80, _LAST_DIGIT + 1):
        value = unicodedata.decimal(chr(code), None)
        if value is not None:
            table[code] = str(value)
    table.update({0xFF01 + shift: chr(0x21 + shift) for shift in range(94) if not 0x0F <= shift <= 0x18})
    table.update({0x066B: ".", 0x066C: ",", 0x066A: "%", 0x2212: "-", 0xFE63: "-", 0x2044: "/", 0x2215: "/"})
    table.update({0x3000: " ", 0x3002: ".", 0x3001: ",", 0x2019: "'", 0x02BC: "'", 0x00D7: "\u00d7"})
    return table


_PLAIN = _plain_characters()
SPACES = "\u00a0\u2007\u2008\u2009\u202f"
"""Spaces that do not break a line: between digits they are separators of groups."""
_SEPARATOR = rf"\{{,\}}|\\!|\\,|\\[ ;:!]|\\thinspace[ ]?|[,.'_~ {SPACES}]"
_GROUPS = re.compile(rf"\d{{1,3}}+(?P<sep>{_SEPARATOR})\d{{3}}(?!\d)(?:(?P=sep)\d{{3}}(?!\d)){{0,18}}+", re.ASCII)
_INDIAN = re.compile(r"\d{1,2}+(?:,\d{2}){1,8},\d{3}(?![\d,])", re.ASCII)
_DIGITS = re.compile(r"\d++", re.ASCII)
_DECIMALS = re.compile(r"(?P<point>[.,]|\{,\})(?P<digits>\d++)", re.ASCII)
_MORE = re.compile(r"(?:[.,:]|\{,\})\d", re.ASCII)
_REPEATS = re.compile(
    r"\\(?:overline|bar|dot)\{(?P<over>\d{1,20})\}|\((?P<round>\d{1,20})\)|(?P<dots>\.\.|\u2026)", re.ASCII
)
_SEPARATED = re.compile(r"(?<![\d.,(\[])\d++(?:[.,]\d++){1,6}+(?![.,]\d|[)\]])", re.ASCII)
_MOST_SEEN = 1000
_MOST_DIGITS = 60


@dataclass(frozen=True)
class Style:
    """What the numbers of a text say about its separators."""

    comma_decimal: bool
    """It writes 3,50 and 1.234,5, and nowhere 3.50 or 1,234.5."""
    point_decimal: bool
    """It writes 3.50 or 1,234.5."""
    comma_groups: bool
    """It writes 1,234, which its other numbers do not make a decimal."""


class Prepared(NamedTuple):
    """A text with plain characters, each in the place of the one it stands for, and its style."""

    text: str
    style: Style


class Numeral(NamedTuple):
    """Digits that were read whole."""

    plain: str
    """With a point for decimals and nothing else: "1234.50"; a fraction where decimals repeat: "1/3"."""
    end: int


@lru_cache(maxsize=8)
def prepare(text: str) -> Prepared:
    """Digits of all scripts as ASCII digits, in a text of the same length."""
    plain = text if text.isascii() else text.translate(_PLAIN)
    found = islice(_SEPARATED.finditer(plain), _MOST_SEEN)
    seen = Counter(_says(match.group()) for match in found if not _alone_in_braces(plain, match))
    comma, point = seen["comma_decimal"] > 0, seen["point_decimal"] > 0
    return Prepared(plain, Style(comma and not point, point, seen["comma_groups"] > 0 and (point or not comma)))


def _alone_in_braces(text: str, match: re.Match[str]) -> bool:
    r"""Whether a number with a comma fills a pair of braces: `\boxed{5,6}` may as well be two, and says nothing."""
    before, after = text[max(0, match.start() - 1) : match.start()], text[match.end() : match.end() + 1]
    return before == "{" and after == "}" and match.group().count(",") == 1 and "." not in match.group()


def _says(number: str) -> str | None:
    """What one number with separators says about those of its text."""
    separators, parts = re.sub(r"\d+", "", number), re.split("[.,]", number)
    if len(set(separators)) == 2:
        return "comma_decimal" if separators[-1] == "," else "point_decimal"
    threes = all(len(part) == 3 for part in parts[1:]) and len(parts[0]) < 4 and parts[0] != "0"
    if len(separators) > 1:
        return ("point_decimal" if separators[0] == "," else "comma_decimal") if threes else None
    if threes:
        return "comma_groups" if separators == "," else None
    if separators == ",":
        return None if len(parts[1]) == 4 and parts[0] != "0" else "comma_decimal"
    return "point_decimal"


def read_numeral(prepared: Prepared, start: int, end: int) -> Numeral | None:
    """The numeral whose digits (or decimal point) begin at `start`; None where it cannot be read as one number."""
    text, style = prepared
    if text[start] == ".":
        behind = _DIGITS.match(text, start + 1, end)
        return None if behind is None else _checked("", behind.group(), behind.end(), text, end)
    indian = _INDIAN.match(text, start, end)
    if indian:
        return _with_decimals(text, re.sub(",", "", indian.group()), ",", indian.end(), end)
    groups = _GROUPS.match(text, start, end)
    if groups:
        whole, separator = _DIGITS.findall(groups.group()), groups["sep"]
        found = _grouped(style, whole, separator)
        if found is not False:
            return _with_decimals(text, "".join(whole), separator, groups.end(), end) if found else None
    return _ungrouped(prepared, start, end)


def _ungrouped(prepared: Prepared, start: int, end: int) -> Numeral | None:
    text, style = prepared
    match = _DIGITS.match(text, start, end)
    assert match is not None, "a numeral begins with a digit"
    decimals = _DECIMALS.match(text, match.end(), end)
    if decimals is None:
        return _checked(match.group(), "", match.end(), text, end)
    undecided = len(decimals["digits"]) == 4 and not style.comma_decimal and match.group() != "0"  # 1,0000 is 10,000
    if decimals["point"] != "." and (undecided or not _is_decimal_comma(text, style, match.group(), start)):
        return None
    return _checked(match.group(), decimals["digits"], decimals.end(), text, end)


def _grouped(style: Style, whole: list[str], separator: str) -> bool | None:
    """Whether digits with a separator before each three are one number in groups; None where nothing decides it."""
    several = len(whole) > 2
    if separator == ".":
        return several or (style.comma_decimal and whole[0] != "0")
    if separator in (",", "{,}"):
        return several or (not style.comma_decimal and whole[0] != "0")
    if separator == " ":
        return None if whole[0].startswith("0") or style.comma_groups else True
    return True


def _is_decimal_comma(text: str, style: Style, whole: str, start: int) -> bool:
    if whole == "0" or style.comma_decimal:
        return True
    return not style.point_decimal and not style.comma_groups and text[max(0, start - 1) : start] not in tuple("([{")


def _with_decimals(text: str, whole: str, separator: str, place: int, end: int) -> Numeral | None:
    decimals = _DECIMALS.match(text, place, end)
    if decimals is None:
        return _checked(whole, "", place, text, end)
    if decimals["point"].strip("{}") == separator.strip("{}"):
        return None
    return _checked(whole, decimals["digits"], decimals.end(), text, end)


def _checked(whole: str, decimals: str, place: int, text: str, end: int) -> Numeral | None:
    """The numeral, unless it goes on, is too long to be meant, or was cut off in its decimals."""
    if len(whole) + len(decimals) > _MOST_DIGITS or _MORE.match(text, place, end):
        return None
    plain = (whole.lstrip("0") or "0" if whole else "") + (f".{decimals}" if decimals else "")
    repeats = _REPEATS.match(text, place, end) if decimals else _REPEATS.match(text, place + 1, end)
    if not decimals and (repeats is None or text[place] not in ".,"):
        return Numeral(plain, place)
    if repeats is None:
        return Numeral(plain, place)
    if repeats["dots"]:
        return Numeral(plain, place) if not decimals else None
    return Numeral(_repeating(whole or "0", decimals, repeats["over"] or repeats["round"]), repeats.end())


def _repeating(whole: str, decimals: str, period: str) -> str:
    """0.1 and 6: (16 - 1) / 90 = 1/6."""
    from fractions import Fraction

    once, both = int(f"{whole}{decimals}"), int(f"{whole}{decimals}{period}")
    return str(Fraction(both - once, 10 ** len(decimals) * (10 ** len(period) - 1)))
