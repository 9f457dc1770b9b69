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

from retort.text.number_words import read_words
from retort.text.numerals import Prepared, prepare
from retort.text.quantities import CURRENCY, VULGAR, Quantity, read_quantity

_VULGAR = "".join(VULGAR)
_BEGINS = rf"(?:\d|\.\d|[{_VULGAR}√∛]|\\[dt]?frac(?![a-z])|\\sqrt(?![a-z])|[⁰¹²³⁴⁵⁶⁷⁸⁹]{{1,4}}[/\u2044])"
_START = re.compile(
    rf"(?<![A-Za-z0-9^])(?<![A-Za-z0-9]_)(?<!\d[.,:])(?<![\^_]\{{)(?<![\^_]\{{-)(?<!\^-)"
    rf"(?:(?<![\d)\]}}%][ ])(?<![\d)\]}}%])[-+\u2013]|(?<=[{{$(=\[])-[ ]|(?<==[ ])-[ ])?(?:{CURRENCY}[ ]?-?)?(?={_BEGINS})",
    re.ASCII,
)
_WORDS_BEFORE = (
    r"(?:only|about|around|approximately|exactly|roughly|nearly|almost|equal to|equals|simply|thus|therefore|hence|"
    r"just|then|now|still|also|a total of|the number|at least|at most|up to)"
)
_BEFORE = re.compile(
    rf"(?:[\s*_`({{\[~≈:\"'\u201c\u300c]|\$(?=[^$\d]|\$)|\\[(\[]|\\(?:text|mathbf|boxed|mathrm|textbf|bf|left)\s?[{{(]?|="
    rf"|[是为為はが]|{_WORDS_BEFORE}\b){{0,12}}",
    re.IGNORECASE,
)
_LINK = re.compile(r"(?:[*_`$({\[\"' ]|\\[(\[]|\\(?:text|mathrm|mathbf)\{|\\boxed\{)*")
_DENIED = re.compile(
    r"(?:(?:\b(?:not|never|cannot)|n't)(?:[ ][a-z]{1,10})?|\b(?:neither|nor|instead of|rather than|unlike|other than|except|(?:more|less|fewer|greater|"
    r"higher|lower|larger|smaller) than|over|under|below|above|beyond|between|log|ln|lg|sin|cos|tan|cot|sec|exp|twice|double|"
    r"triple|half|half of|mod|base|root of|factor of|powers? of|multiples? of|no|nicht|kein|keine|pas|non|nem)|[≠≤≥±∓]"
    r"|!=|\S[ ]?[<>]|\\(?:neq?|leq?|geq?|[lg]t|pm|mp|log|ln|sin|cos|tan|exp|not)|(?<![A-Za-z])[A-Za-z]\(|[不非]是?"
    r"|[A-Za-z)}\]²³][ ]?[+*/×·÷^][ ]?|(?<![A-Za-z])[A-Za-z]\)?[ ]?-[ ]?|[+×·÷/^])"
    r"(?:[\s*_`$({:]|\\(?:text|mathbf)\{|equal to\b|exactly\b|just\b|simply\b|only\b|the number\b|actually\b|[-+]|\\[(\[]){0,8}\Z",
    re.IGNORECASE,
)
_OTHER_USE = re.compile(
    r"\b(?:the|all|these|those|both|in|within|after|before|every|per|first|last|next|step|day|part|equation|question|"
    r"page|chapter|level|example|option|en|por|para|pour|dans|für|jede|each)\s\Z",
    re.IGNORECASE,
)
_UNIT_LETTERS = frozenset("mglLshWVNJKCFAcpt")
_UNITS = frozenset(
    ["kg", "mg", "km", "cm", "mm", "nm", "ml", "mL", "cl", "dl", "dL", "lb", "lbs", "oz", "ft", "in", "yd", "mi", "mph", "kph", "kmh", "hr", "hrs", "min", "mins", "sec", "secs", "ms", "kW", "kWh", "MW", "Hz", "kHz", "MHz", "GHz", "Pa", "kPa", "MPa", "mol", "eV", "GB", "MB", "KB", "TB", "kB", "gb", "mb", "ha", "sq", "cc", "px", "pt", "pcs", "dB", "kJ", "kcal", "cal", "rpm", "mA", "kV", "mV", "kN", "USD", "EUR", "GBP", "INR", "yrs", "yr", "wk", "wks", "mo"]
)
_NO_UNITS = frozenset(["mod", "log", "sin", "cos", "tan", "and", "pth", "nth", "sqrt", "pi", "exp", "lim", "max"])
_CLOSE = r"(?:[)}\]*_`$\"\u201d\u300d]|\\[)\],;! ]|~|\\quad\b|\\right[)\]}]?)"
_ATTACHED = re.compile(
    rf"_\{{?[A-Za-z\d]|\^(?!\{{?\s?\\circ|\{{?°)|\*\*?(?=[\dA-Za-z(\\])(?<=[\d.)]\*)(?=[(\\]|[a-z](?![a-z])|\d)|['°:#]\d|[-\u2013]\d|/\d|[.,]\d|\((?![A-Za-z]{{3}}|\$)"
    rf"|!|!?\{{|[{_VULGAR}√∛⁰¹²³⁴⁵⁶⁷⁸⁹₀₁₂₃₄₅₆₇₈₉]|-[A-Za-z](?![A-Za-z])|\u0305",
    re.ASCII,
)
_LETTERS = re.compile(r"[A-Za-z]+")
_VARIABLE = re.compile(rf"(?:{_CLOSE}|[ ]){{0,8}}(?<![A-Za-z])(?P<letter>[b-zB-HJ-Z])(?![\w&'\u00c0-\uffff]|\.[A-Za-z])", re.ASCII)
_FORMULA = re.compile(
    rf"(?:{_CLOSE}|[ ]|\\){{0,8}}(?:(?<=\\)(?!text|mathrm|mathbf|textbf|circ|degree|rm|bf|quad|right|end|approx|equiv|in\b|implies|Rightarrow|hline|newline|item|times\s?\\text|cdot\s?\\text|mbox|operatorname|unit|si\b|dollars|euro|pounds|cent|color|hfill|boxed|begin|n\b|tag|label|checkmark|therefore|because|square|blacksquare|qquad|ldots|dots|%|\$)[a-zA-Z]{{2,}}"
    r"|(?<=\\)mathrm\{[eid]\}|[+×÷±∓∙⋅](?!\s?\Z)|[=]?[<≤≥≠>](?![/A-Za-z|!\n])|[·](?=[ ]?[\w(\\])|[ΔΘΛΠΣΦΨα-λν-ω∞∫√](?![a-z])"
    r"|-[ ]?(?=[(\\√$]|[A-Za-z](?![A-Za-z']))|(?<=[ ])-[ ](?=\d)|(?<=[})$\\])-\d|(?<=[})$])\^(?!\{?\\circ))"
)
_CONTINUES = re.compile(
    rf"(?:{_CLOSE}){{0,4}}[ -]?(?:[ap]\.?m\b|[AP]\.?M\b|o'clock|(?:st|nd|rd|th)\b|times[ ](?:as|more|less|the|that|bigger|larger|smaller|"
    r"greater|faster|older|\d)|(?:more|less|fewer)[ ]than[ ]\$?\d|pi\b|factorial|to[ ]the[ ](?:power|\w+[ ]power)|choose\b|mod(?:ulo)?\b"
    r"|\\?pmod|\(?mod\b|in[ ]base|base\b|(?:quarters?[ ]of|half|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|hundredth|thousandth)s?\b(?![ ](?:of[ ]an?[ ]hour|grade))|halves\b"
    r"|mil\b|billones|bilhões|billionen|score\b|gross\b|hundreds|\u2030|squared\b|cubed\b|percentage points?\b)"
)
_SUFFIX_WORDS = re.compile(r"(?:[ ]?\\?%)")
_UNIT_WORDS = (
    r"(?:[ ]?\\(?:text|mathrm|mbox)\{[^{}\n]{0,30}\}|[ ]?-?(?!(?:or|and|to|through|und|oder|ou|et|y|o|vs|out|in|per)\b)"
    r"[^\W\d_]{1,16}\.?)"
)
_NEXT = rf"(?:[*_`$({{\[\" ]|\\[(\[]|\\text\{{)*(?:[-+\u2013]?{CURRENCY}?[ ]?-?{_BEGINS}|(?:zero|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve)\b)"
_JOIN = re.compile(
    rf"(?:{_CLOSE}|\\?%){{0,6}}(?:{_UNIT_WORDS}){{0,2}}(?:{_CLOSE}){{0,6}}"
    rf"(?:\\text\{{)?(?:,?[ ]?(?<![A-Za-z])(?P<either>or|oder|ou|o|или)[ ]\}}?|,?[ ](?:and|und|et|y|e|и|plus|minus)[ ]\}}?|[ ]?[或和与と至到、][ ]?|[ ]?(?:または|또는)[ ]?|[ ]&[ ]|[ ]/[ ])"
    rf"[ ]?(?:[A-Za-z][ ]?=[ ]?)?(?={_NEXT})",
    re.ASCII | re.IGNORECASE,
)
_BARE_JOIN = re.compile(
    rf"(?:{_CLOSE}|\\?%){{0,6}}(?:[ ]?(?:to|through|until|vs\.?|versus|out[ ]of|per|bis|à|a)[ ]|[ ]?[\u2013\u2014~\u301c][ ]?|[ ]in[ ](?=\d{{1,9}}[.)*$]|\d{{1,9}}\Z)"
    rf"|;[ ]?(?:[A-Za-z][ ]?=[ ]?)?|,[ ]?(?:[A-Za-z][ ]?=[ ]?|(?=\\[dt]?frac))|\\to[ ])(?={_NEXT})",
    re.ASCII,
)
_LIST = re.compile(rf"(?:{_CLOSE}|\\?%){{0,6}}[,\u3001][ ]{{1,2}}(?={_NEXT})", re.ASCII)
_LIST_GOES_ON = re.compile(rf"(?:{_CLOSE}|[ ]){{0,6}}(?:[,.;](?!\d)|(?:and|or|&)\b|[?!\n]|\Z)")
_MEASURE = re.compile(
    r"[ ]?(?:feet|foot|ft|hours?|hrs?|h|min(?:ute)?s?|weeks?|days?|years?|months?|pounds?|lbs?|yards?|yd|gallons?|"
    r"miles?|km|kg|m|dollars?|euros?|degrees?|°|'|meters?|inches|cm)[,.]?[ ]?(?=\d)",
    re.ASCII,
)
_SPACED = re.compile(r"[ ](?=[-+]?\d)", re.ASCII)
_TOKEN = re.compile(r"[^\s,;()=]{1,80}")
_WINDOW = 400
_LONGEST = 160


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
    limit = min(end, begin + _LONGEST)
    words = read_words(prepared.text, begin, limit)
    if words is not None:
        quantity: Quantity | None = Quantity(words.value, str(words.value), words.end)
        after = _MAGNITUDE_OF_WORDS.match(prepared.text, words.end, end)
        return Unread(begin, after.end()) if after else _whole(prepared, begin, quantity, end, running=False)
    found = _START.match(prepared.text, begin, limit)
    if found is None:
        spelt = _SPELT.match(prepared.text, begin, limit)
        return _whole(prepared, begin, read_quantity(prepared, begin, limit), end, running=False) if spelt else None
    return _whole(prepared, begin, read_quantity(prepared, begin, limit), end, running=False)


_MAGNITUDE_OF_WORDS = re.compile(r"[ -]\d")
_SPELT = re.compile(rf"(?:minus|negative)[ ](?={_BEGINS})|(?:the )?(?:square|cube) root of ", re.IGNORECASE)


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
        stop = min(limit, begin + _LONGEST)
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
    rf"(?:{_CLOSE}|[ ]){{0,8}}(?:hundred|thousand|million|billion|trillion|dozen|lakh|crore|[kKMB](?![A-Za-z])|[万千百亿億])"
)


def number_of(text: str) -> str | None:
    """The one number that a short text, such as a gold answer, states: "72 clips", "x = 72", "70 + 2 = 72"."""
    if len(text) > _WINDOW:
        return None
    place = max((text.rfind(sign) + len(sign) for sign in ("=", "\u2248", "\\approx") if sign in text), default=0)
    found = find_number(text, place, len(text))
    return found.value if isinstance(found, Number) else None


def _whole(prepared: Prepared, start: int, quantity: Quantity | None, end: int, *, running: bool) -> Number | Unread:
    """The quantity as a number, unless what follows belongs to it."""
    text = prepared.text
    if quantity is None:
        token = _TOKEN.match(text, start, end)
        return Unread(start, token.end() if token else start + 1)
    value = quantity.spelling + ("%" if quantity.percent else "")
    joined = _joined(prepared, quantity, end, running=running)
    return Number(value, start, quantity.end) if joined is None else Unread(start, max(joined, quantity.end))


def _joined(prepared: Prepared, quantity: Quantity, end: int, *, running: bool) -> int | None:
    """Where what follows a quantity and belongs to it ends; None where the quantity stands alone."""
    text, place = prepared.text, quantity.end
    attached = _ATTACHED.match(text, place, end)
    if attached and (attached.group() != "!" or quantity.integer):
        return _past(text, attached.end(), end)
    letters = _LETTERS.match(text, place, end)
    if letters and not _is_unit(letters.group()):
        return letters.end()
    after = letters.end() if letters else place
    variable = _VARIABLE.match(text, after, end) if letters is None else None
    if variable and variable["letter"] not in _UNIT_LETTERS:
        return variable.end()
    for pattern in (_CONTINUES, _FORMULA):
        match = pattern.match(text, after, end)
        if match:
            return _past(text, match.end(), end)
    for pattern in (_JOIN, _BARE_JOIN):
        match = pattern.match(text, place, end)
        if match and not _repeats(prepared, quantity, match, end):
            return _past_number(prepared, match.end(), end)
    listed = _LIST.match(text, place, end)
    if listed:
        stop = _past_number(prepared, listed.end(), end)
        if _LIST_GOES_ON.match(text, stop, end):
            return stop
    for pattern in (_MEASURE, *(() if running else (_SPACED,))):
        match = pattern.match(text, place, end)
        if match:
            return _past_number(prepared, match.end(), end)
    return None


def _is_unit(letters: str) -> bool:
    if len(letters) == 1:
        return letters in _UNIT_LETTERS
    return letters in _UNITS or (len(letters) > 2 and letters.lower() not in _NO_UNITS)


def _repeats(prepared: Prepared, quantity: Quantity, match: re.Match[str], end: int) -> bool:
    """Whether "1/2 or 0.5" says one number twice."""
    if not match.groupdict().get("either"):
        return False
    link = _LINK.match(prepared.text, match.end(), end)
    other = read_quantity(prepared, link.end() if link else match.end(), min(end, match.end() + _LONGEST))
    if other is None:
        return False
    values = {other.value, other.value / 100 if other.percent else other.value}
    mine = {quantity.value, quantity.value / 100 if quantity.percent else quantity.value}
    return bool(values & mine)


def _past(text: str, place: int, end: int) -> int:
    token = _TOKEN.match(text, place, end)
    return token.end() if token else place


def _past_number(prepared: Prepared, place: int, end: int) -> int:
    """The end of the number that a join leads to, and of those it is joined with in turn."""
    for _ in range(8):
        link = _LINK.match(prepared.text, place, end)
        begin = link.end() if link else place
        other = read_quantity(prepared, begin, min(end, begin + _LONGEST)) if begin < end else None
        if other is None:
            return _past(prepared.text, begin, end)
        place = other.end
        more = _JOIN.match(prepared.text, place, end) or _LIST.match(prepared.text, place, end)
        if more is None:
            return place
        place = more.end()
    return place
