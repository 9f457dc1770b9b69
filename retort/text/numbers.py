"""Numbers in running text: finding them in linear time and writing them plainly."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import NamedTuple

_SEPARATOR = r"(?:,|\{,\}|\\,|\\!,|[\u00a0\u2009\u202f])"
_DIGITS = rf"(?:\d{{1,3}}+(?:{_SEPARATOR}\d{{3}}){{1,12}}+(?!\d)|\d{{1,2}}+(?:,\d{{2}}){{1,8}}+,\d{{3}}(?![\d,])|\d++)"
_CURRENCY = r"(?:\\?\$|€|£|¥|₹|US\$|USD[ ]?|Rs\.?[ ]?)"
_NUMBER = re.compile(
    rf"""
    (?<!\w)(?<!\d\.)(?<!\d:)(?<!\d,)
    (?P<sign>(?:(?<![\d)\]}}%][ ])(?<![\d)\]}}%])[-\u2212\u2013+])?)
    (?:{_CURRENCY}[ ]?+(?P<sign2>[-\u2212]?+))?+
    (?:
        (?P<whole>\d{{1,12}}+)[ ]?\\[dt]?frac\{{(?P<mixed_top>\d{{1,12}}+)\}}\{{(?P<mixed_bottom>\d{{1,12}}+)\}}
      | \\[dt]?frac[ ]?\{{(?P<top>[-\u2212]?\d{{1,40}}+)\}}\{{(?P<bottom>\d{{1,40}}+)\}}
      | (?P<integer>{_DIGITS})(?P<decimals>\.\d++)?+
        (?:[ ]?/[ ]?(?P<over>\d++)(?![/.]\d)|[ ](?P<mixed>\d{{1,6}}+/\d{{1,6}}+)(?![/\d]))?+
      | (?P<point>\.\d++)
    )
    (?![:.]\d|/\d{{1,4}}/)(?!(?:st|nd|rd|th)\b)
    (?:[ ]?(?:\u00d7|x|\*|\\times|\\cdot)[ ]?10[ ]?\^[ ]?\{{?(?P<power>[-\u2212]?\d{{1,2}})\}}?
      |[eE](?P<exponent>[-+]?\d{{1,2}})(?!\w))?+
    (?P<percent>[ ]?\\?%|[ ]percent\b)?+
    (?:[ ](?P<magnitude>thousand|million|billion|trillion)\b)?+
    """,
    re.VERBOSE | re.ASCII,
)
_BEFORE = re.compile(
    r"(?:[\s*_`({\[~≈:]|\$(?=[^$\d]|\$)|\\[(\[]|\\(?:text|mathbf|boxed|mathrm)\{|=|"
    r"(?:only|about|around|approximately|exactly|roughly|equal to|equals|simply|thus|therefore|just)\b){0,12}",
    re.IGNORECASE,
)
_MAGNITUDE = {"thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_MOST_DIGITS = 60
_WINDOW = 400


class Number(NamedTuple):
    """A value that stands at `text[start:end]`."""

    value: str
    start: int
    end: int


def find_number(text: str, start: int, end: int) -> Number | None:
    """The number that stands at `start`, behind nothing but markup, currency or a word such as "about"."""
    match = _BEFORE.match(text, start, min(end, start + _WINDOW))
    begin = match.end() if match else start
    # markup may have taken a sign or a currency that belongs to the number
    found = _NUMBER.match(text, begin, end)
    return _number(found) if found else None


def numbers_in(text: str, start: int, end: int) -> Iterator[Number]:
    """All numbers of a stretch of text, in order."""
    for match in _NUMBER.finditer(text, start, end):
        number = _number(match)
        if number is not None:
            yield number


def _number(match: re.Match[str]) -> Number | None:
    """The matched number written plainly, or None for a run of digits too long to be meant as an answer."""
    parts = match.groupdict()
    if match.end() - match.start() > 2 * _MOST_DIGITS:
        return None
    negative = (parts["sign"] in ("-", "\u2212", "\u2013")) != bool(parts["sign2"])
    if parts["top"] is not None:
        body = parts["top"].replace("\u2212", "-") + "/" + parts["bottom"]
    elif parts["whole"] is not None:
        body = _mixed(parts["whole"], parts["mixed_top"], parts["mixed_bottom"])
    else:
        integer = re.sub("[^0-9]", "", parts["integer"] or "")
        if parts["mixed"] is not None and parts["decimals"] is None:
            top, _, bottom = parts["mixed"].partition("/")
            body = _mixed(integer, top, bottom)
        else:
            body = (integer.lstrip("0") or "0") + (parts["decimals"] or parts["point"] or "")
            body = f"{body}/{parts['over']}" if parts["over"] else _scaled(body, parts)
    value = _negate(body) if negative else body
    return Number(value + ("%" if parts["percent"] else ""), match.start(), match.end())


def _mixed(whole: str, top: str, bottom: str) -> str:
    return f"{int(whole) * int(bottom) + int(top)}/{int(bottom)}"


def _scaled(body: str, parts: dict[str, str | None]) -> str:
    power = int((parts["power"] or parts["exponent"] or "0").replace("\u2212", "-"))
    power += _MAGNITUDE.get(parts["magnitude"] or "", 0)
    if not power:
        return body
    scaled = format(Decimal(body).scaleb(power), "f")
    return scaled.rstrip("0").rstrip(".") if "." in scaled else scaled


def _negate(body: str) -> str:
    return body[1:] if body.startswith("-") else "-" + body
