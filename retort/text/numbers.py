"""Numbers in running text: read whole or not at all, in linear time.

A quantity (`retort.text.quantities`) is a number of its own only where nothing that belongs to it goes on: "2x",
"5 or 6", "2 hours and 30 minutes", "3:30" and "101_2" have digits and state no number. Nor has one that is denied or
is an argument: "not 5", "more than 5", "log 5", "x + 5". Such a place is `Unread`; it is never read as another number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

from retort.text.han_numerals import read_han
from retort.text.number_ends import BEGINS, CLOSE, LONGEST, joined_until, token_end
from retort.text.number_words import SIGNS, read_words
from retort.text.numerals import Prepared, prepare
from retort.text.quantities import CURRENCY, Quantity, read_quantity

_START = re.compile(
    r"(?<![A-Za-z0-9^])(?<![A-Za-z0-9]_)(?<!\d[.,:])(?<![ ],)(?<![\^_]\{)(?<![\^_]\{-)(?<!\^-)"
    r"(?:(?<![\d)\]}%][ ])(?<![\d)\]}%-])[-+\u2013]|(?<=[{$(=\[])-[ ]|(?<==[ ])-[ ])?"
    rf"(?:{CURRENCY}[ ]?-?)?(?={BEGINS})",
    re.ASCII,
)
_WORDS_BEFORE = (
    r"(?:only|about|around|approximately|exactly|roughly|nearly|almost|equal to|equals|simply|thus|therefore|hence|"
    r"just|then|now|still|also|a total of|the number|at least|at most|up to)"
)
_BEFORE = re.compile(
    rf"(?:[\s*_`({{\[~≈:\"'\u201c\u300c]|\$(?=[^$\d]|\$)|\\[(\[]|\\(?:text|mathbf|boxed|mathrm|textbf|bf"
    rf"|left)\s?[{{(]?|="
    rf"|[是为為はが]|{_WORDS_BEFORE}\b){{0,12}}",
    re.IGNORECASE,
)
_NEGATIONS = (
    r"(?:\b(?:not|never|cannot)|n't)(?:[ ][a-z]{1,10})?|\b(?:neither|nor|no|nicht|kein|keine|pas|non|nem)"
    r"|[\u4e0d\u975e]\u662f?|\b(?:wrong|incorrect|false)"
)
_DATED = (
    r"\b(?:January|February|March|April|May|June|July|August|September|October|November|December|Jan\.?|Feb\.?|Mar\.?"
    r"|Apr\.?|Jun\.?|Jul\.?|Aug\.?|Sept?\.?|Oct\.?|Nov\.?|Dec\.?|(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day,?)"
)
_COMPARED = (
    r"\b(?:instead of|rather than|unlike|other than|anything but|but not|except|(?:more|less|fewer|greater|higher"
    r"|lower|larger"
    r"|smaller) than|"
    r"over|under|below|above|beyond|between)|[\u2260\u2264\u2265\u00b1\u2213]|!=|\S[ ]?[<>]|\\(?:neq?|leq?|geq?"
    r"|[lg]t|pm|mp|not)"
)
_APPLIED = (
    r"--|\b(?:sqrt|cbrt|abs|floor|ceil|gcd|lcm|max|min)\(|\b(?:log|ln|lg|sin|cos|tan|cot|sec|exp|twice|double"
    r"|triple|half|half of|mod|base|root of|factor of|powers? of|"
    r"multiples? of)|\\(?:log|ln|sin|cos|tan|exp)|(?<![A-Za-z])[A-Za-z]\("
    r"|[A-Za-z)}\]\u00b2\u00b3][ ]?[+*/\u00d7\u00b7\u00f7^][ ]?"
    r"|(?<![A-Za-z])[A-Za-z]\)?[ ]?-[ ]?|[+\u00d7\u00b7\u00f7/^]|-\(|(?:\bis|[:=])[ ][-\u2013][ ]"
)
_DENIED = re.compile(
    rf"(?:{_NEGATIONS}|{_COMPARED}|{_APPLIED}|{_DATED})"
    r"(?:[\s*_`$({:]|\\(?:text|mathbf)\{|(?:equal to|exactly|just|simply|only|the number|actually)\b|[-+]"
    r"|\\[(\[]){0,8}\Z",
    re.IGNORECASE,
)
_OTHER_USE = re.compile(
    r"\b(?:the|all|these|those|both|in|within|after|before|every|per|first|last|next|step|day|part|equation|question|"
    r"page|chapter|level|example|option|en|por|para|pour|dans|für|jede|each)\s\Z",
    re.IGNORECASE,
)
_WINDOW = 400


class Number(NamedTuple):
    """A value that stands at `text[start:end]`."""

    value: str
    start: int
    end: int


class Unread(NamedTuple):
    """Digits at `text[start:end]` that state no one number."""

    start: int
    end: int
    denied: bool = False
    """Whether they are one number, which the text denies or takes for something else."""


def find_number(text: str, start: int, end: int) -> Number | Unread | None:
    """The number that stands at `start`, behind nothing but markup, currency or a word such as "about".

    Args:
        text: The text.
        start: Where it is looked for.
        end: Where what may belong to it ends: of a line, or of a box.

    Returns:
        None where something else stands there.
    """
    prepared = prepare(text)
    match = _BEFORE.match(prepared.text, start, min(end, start + _WINDOW))
    begin = match.end() if match else start
    limit = min(end, begin + LONGEST)
    if (han := read_han(prepared.text, begin, limit)) is not None:
        return Number(str(han.value), begin, han.end)
    sign = _NEGATIVE.match(prepared.text, begin, limit)
    words = read_words(prepared.text, sign.end() if sign else begin, limit)
    if words is not None:
        value = -words.value if sign else words.value
        quantity = Quantity(value, str(value), words.end)
        after = _MAGNITUDE_OF_WORDS.match(prepared.text, words.end, end)
        return Unread(begin, after.end()) if after else _whole(prepared, begin, quantity, end, running=False)
    found = _START.match(prepared.text, begin, limit)
    if found is None:
        spelt = _SPELT.match(prepared.text, begin, limit)
        return _whole(prepared, begin, read_quantity(prepared, begin, limit), end, running=False) if spelt else None
    return _whole(prepared, begin, read_quantity(prepared, begin, limit), end, running=False)


_MAGNITUDE_OF_WORDS = re.compile(r"[ -]\d")
_NEGATIVE = re.compile(r"(?:minus|negative)[ ]", re.IGNORECASE)
_SPELT = re.compile(rf"(?:minus|negative)[ ](?={BEGINS})|(?:the )?(?:square|cube) root of ", re.IGNORECASE)


def numbers_in(text: str, start: int, end: int, limit: int | None = None) -> Iterator[Number | Unread]:
    """All numbers that begin in a stretch of text, in order, and what has digits and is none.

    Args:
        text: The text.
        start: Where the stretch begins.
        end: Where it ends.
        limit: Where the last number's own surroundings end; `end` where it is left out.
    """
    prepared, place = prepare(text), start
    limit = end if limit is None else limit
    while True:
        match = _START.search(prepared.text, place, end)
        if match is None:
            return
        begin = match.start()
        stop = min(limit, begin + LONGEST)
        found = _whole(prepared, begin, read_quantity(prepared, begin, stop), limit, running=True)
        if isinstance(found, Number) and _DENIED.search(prepared.text, max(0, begin - 40), begin):
            found = Unread(begin, found.end, denied=True)
        yield found
        place = max(found.end, match.end() + 1)


def used_otherwise(text: str, start: int) -> bool:
    """Whether what stands at `start` counts something beside the answer: "the 3 numbers", "in 3 days"."""
    return _OTHER_USE.search(text, max(0, start - 20), start) is not None


def goes_on(text: str, start: int, end: int) -> bool:
    """Whether what stands at `start` belongs to the number that ends there, and makes it another or none."""
    prepared = prepare(text)
    probe = Quantity(Fraction(1), "1", start)
    scaled = _SCALE.match(prepared.text, start, end) is not None
    return scaled or isinstance(_whole(prepared, start, probe, end, running=False), Unread)


_SCALE = re.compile(
    rf"(?:{CLOSE}|[ ]){{0,8}}(?:hundred|thousand|million|billion|trillion|dozen|lakh|crore|[kKMB](?![A-Za-z])|"
    rf"[{''.join(SIGNS)}])"
)


def number_of(text: str) -> str | None:
    """The one number that a short text, such as a gold answer, states: "72 clips", "x = 72", "So he sold 72 clips."."""
    if len(text) > _WINDOW:
        return None
    place = max((text.rfind(sign) + len(sign) for sign in ("=", "\u2248", "\\approx") if sign in text), default=0)
    found = find_number(text, place, len(text))
    if found is None and not place:
        every = list(numbers_in(text, 0, len(text)))
        found = every[0] if len(every) == 1 and not used_otherwise(text, every[0].start) else None
    return found.value if isinstance(found, Number) else None


def _whole(prepared: Prepared, start: int, quantity: Quantity | None, end: int, *, running: bool) -> Number | Unread:
    """The quantity as a number, unless what follows belongs to it."""
    text = prepared.text
    if quantity is None:
        return Unread(start, max(token_end(text, start, end), start + 1))
    value = quantity.spelling + ("%" if quantity.percent else "")
    joined = joined_until(prepared, quantity, end, running=running)
    return Number(value, start, quantity.end) if joined is None else Unread(start, max(joined, quantity.end))
