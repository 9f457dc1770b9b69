"""Numbers in words, and words of magnitude behind digits: "twenty-one", "two thirds", "1.5 million", "3 dozen"."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

_ONES = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_SMALL = {word: number for number, word in enumerate(_ONES)} | {
    word: 10 * number for number, word in enumerate(_TENS, start=2)
}
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_PARTS = {
    "half": 2, "halves": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8,
    "ninth": 9, "tenth": 10, "hundredth": 100, "thousandth": 1000,
}  # fmt: skip
MAGNITUDES = {
    **_SCALES,
    **{f"{word}s": value for word, value in _SCALES.items()},
    "hundred": 100,
    "dozen": 12,
    "dozens": 12,
    "lakh": 10**5,
    "lakhs": 10**5,
    "crore": 10**7,
    "crores": 10**7,
    "mn": 10**6,
    "mln": 10**6,
    "bn": 10**9,
    "tn": 10**12,
    "quadrillion": 10**15,
    # Spanish, French, Portuguese, Italian, German, Russian
    "mille": 10**3,
    "millón": 10**6,
    "millones": 10**6,
    "milhão": 10**6,
    "milhões": 10**6,
    "milione": 10**6,
    "milioni": 10**6,
    "tausend": 10**3,
    "millionen": 10**6,
    "milliard": 10**9,
    "milliards": 10**9,
    "milliarde": 10**9,
    "milliarden": 10**9,
    "тысяч": 10**3,
    "тысячи": 10**3,
    "тыс": 10**3,
    "миллион": 10**6,
    "миллиона": 10**6,
    "миллионов": 10**6,
    "млн": 10**6,
    "миллиардов": 10**9,
    "млрд": 10**9,
}
"""What a number before each word is multiplied by."""
SIGNS = {
    "十": 10,
    "百": 100,
    "千": 10**3,
    "万": 10**4,
    "萬": 10**4,
    "亿": 10**8,
    "億": 10**8,
    "兆": 10**12,
    "만": 10**4,
    "억": 10**8,
}
"""Chinese, Japanese and Korean signs of magnitude, which stand right behind the digits."""
_WORD = re.compile(r"[ \t]?-?[ \t]?(?P<word>[A-Za-z]++)")
_GOES_ON = re.compile(r"[ \t]+(?:or|and|to|point|plus|minus|times)\b")
_SAYS_NO_NUMBER = re.compile(r"[ \t]+(?:of|point|or|and|to|more|less|out|way|thing|hand|plus|minus|times)\b")
_MOST_WORDS = 16


class Words(NamedTuple):
    """A number in words."""

    value: Fraction
    end: int


def read_words(text: str, start: int, end: int) -> Words | None:
    """The number that is spelt out at `start`; None where no word is one, or "one of them" and the like."""
    words: list[tuple[str, int]] = []
    place = start
    while len(words) < _MOST_WORDS:
        match = _WORD.match(text, place, end)
        if match is None or (place == start and match.start("word") != start):
            break
        word = match["word"].lower()
        if not (word in _SMALL or word in MAGNITUDES or _part(word) or word in ("a", "an", "and")):
            break
        words.append((word, match.end()))
        place = match.end()
    while words:
        value = _value([word for word, _ in words])
        if value is not None:
            place = words[-1][1]
            other = (_SAYS_NO_NUMBER if value.denominator == 1 else _GOES_ON).match(text, place, end)
            return None if other else Words(value, place)
        if words.pop()[0] in _SMALL:  # "five six" is not five
            return None
    return None


def _part(word: str) -> int | None:
    return _PARTS.get(word) or _PARTS.get(word.removesuffix("s"))


def _value(words: list[str]) -> Fraction | None:
    """The value of whole number words, with a fraction behind; None where they are no number."""
    if words[-1] in ("and", "a", "an") or words[0] == "and":
        return None
    if words[:2] == ["half", "a"] and len(words) > 2:
        rest = _value(words[1:])
        return None if rest is None else rest / 2
    part = _part(words[-1])
    if part is not None:
        return _with_part(words[:-1], part, plural=words[-1] not in _PARTS or words[-1] == "halves")
    if words[0] in ("a", "an"):
        return _integer(["one", *words[1:]]) if len(words) > 1 and words[1] in MAGNITUDES else None
    return _integer(words)


def _with_part(before: list[str], part: int, *, plural: bool) -> Fraction | None:
    """Two thirds, one and a half; "twenty third" is an ordinal."""
    if not before:
        return Fraction(1, 2) if part == 2 and not plural else None
    whole: Fraction | None = Fraction(0)
    if "and" in before:
        place = len(before) - 1 - before[::-1].index("and")
        whole, before = _integer(before[:place]), before[place + 1 :]
    top = _top(before)
    if whole is None or top is None or (top > 1) != plural:
        return None
    return whole + top / part


def _top(words: list[str]) -> Fraction | None:
    return Fraction(1) if words in (["a"], ["an"]) else _integer(words)


def _integer(words: list[str]) -> Fraction | None:
    """Two hundred and five thousand: each scale closes what stands before it; they must get smaller."""
    total, chunk, last, filled, limit = 0, 0, 10**18, False, 100
    for word in words:
        if word == "and":
            if not filled:
                return None
        elif word in _SMALL:
            number = _SMALL[word]
            if number >= limit or (number >= 10 and chunk % 100):
                return None
            chunk, filled, limit = chunk + number, True, 10 if number >= 20 else 1
        elif word == "hundred":
            if not 0 < chunk < 100:
                return None
            chunk, limit = chunk * 100, 100
        elif word in MAGNITUDES:
            scale = MAGNITUDES[word]
            if not filled or scale >= last or not chunk:
                return None
            total, chunk, last, limit = total + chunk * scale, 0, scale, 100
        else:
            return None
    return Fraction(total + chunk) if filled else None
