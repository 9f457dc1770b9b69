"""Numerals of Chinese, Japanese and Korean texts in their own signs: 十八 is 18, 三百二十 is 320, 两万 is 20,000."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

_DIGITS = {
    sign: value
    for value, signs in enumerate(("〇零", "一壹", "二两兩贰", "三叁", "四肆", "五伍", "六陆", "七柒", "八捌", "九玖"))
    for sign in signs
}
_ZEROS = "〇零"
_TENS = {"十": 10, "拾": 10, "百": 100, "佰": 100, "千": 1000, "仟": 1000}
_SCALES = {"万": 10**4, "萬": 10**4, "亿": 10**8, "億": 10**8}
_SIGNS = re.compile(rf"[{''.join([*_DIGITS, *_TENS, *_SCALES])}]{{1,24}}")
_COUNTED = "个個元块塊只隻本人天年岁歲米克斤颗顆条條张張枚匹回つ日円時間分개명원"
_CLOSES = re.compile(
    rf"[{_COUNTED}]?(?:です|である|だ|입니다)?[\s*_`$)}}\]\"」”.,;!?]|[{_COUNTED}]?(?:です|だ|입니다)?\Z"
)
"""What may stand behind one: 三角形 (a triangle) and 一个整数 (a whole number) begin with signs of numerals, too."""


class HanNumeral(NamedTuple):
    """A number in such signs."""

    value: Fraction
    end: int


def read_han(text: str, start: int, end: int) -> HanNumeral | None:
    """The numeral at `start` of `text[:end]`; None where the signs are none or are part of a word."""
    match = _SIGNS.match(text, start, end)
    if match is None or not _CLOSES.match(text, match.end(), end):
        return None
    value = _value(match.group())
    return None if value is None else HanNumeral(Fraction(value), match.end())


def _value(signs: str) -> int | None:
    if all(sign in _DIGITS for sign in signs):  # 二〇二四: digit by digit; 三四 is "three or four"
        zeros = any(sign in _ZEROS for sign in signs)
        return (
            _DIGITS[signs] if len(signs) == 1 else int("".join(str(_DIGITS[one]) for one in signs)) if zeros else None
        )
    total, section, digit, least = 0, 0, None, 10**4
    last_scale = 10**12
    for sign in signs:
        if sign in _DIGITS:
            if digit:  # two digits in a row
                return None
            digit = _DIGITS[sign]
        elif sign in _TENS:
            unit = _TENS[sign]
            if unit >= least or digit == 0:
                return None
            section, digit, least = section + (1 if digit is None else digit) * unit, None, unit
        else:
            scale = _SCALES[sign]
            section += digit or 0
            if not section or scale >= last_scale:
                return None
            total, section, digit, least, last_scale = total + section * scale, 0, None, 10**4, scale
    return total + section + (digit or 0)
