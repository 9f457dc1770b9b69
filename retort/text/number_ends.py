"""What follows a number decides what it is: "2x", "5 or 6", "2 hours and 30 minutes" are no number of their own."""

from __future__ import annotations

import re

from retort.text.numerals import Prepared
from retort.text.quantities import CURRENCY, VULGAR, Quantity, read_quantity


def _any(*parts: str) -> str:
    return "(?:" + "|".join(parts) + ")"


BEGINS = _any(
    r"\d",
    r"\.\d",
    rf"[{''.join(VULGAR)}\u221a\u221b]",
    r"\\[dt]?frac(?![a-z])",
    r"\\sqrt(?![a-z])",
    r"[\u2070\u00b9\u00b2\u00b3\u2074-\u2079]{1,4}[/\u2044]",
)
"""What a quantity begins with, behind its sign and currency."""
CLOSE = _any(r"[)}\]*_`$\"\u201d\u300d]", r"\\[)\],;! ]", "~", r"\\quad\b", r"\\right[)\]}]?")
"""Markup that may close behind a number."""
_UNIT_LETTERS = frozenset("mglLshWVNJKCFA")
_UNITS = frozenset(
    [
        "kg",
        "mg",
        "km",
        "cm",
        "mm",
        "nm",
        "ml",
        "mL",
        "cl",
        "dl",
        "dL",
        "lb",
        "lbs",
        "oz",
        "ft",
        "in",
        "yd",
        "mi",
        "mph",
        "kph",
        "kmh",
        "hr",
        "hrs",
        "min",
        "mins",
        "sec",
        "secs",
        "ms",
        "kW",
        "kWh",
        "MW",
        "Hz",
        "kHz",
        "MHz",
        "GHz",
        "Pa",
        "kPa",
        "MPa",
        "mol",
        "eV",
        "GB",
        "MB",
        "KB",
        "TB",
        "kB",
        "gb",
        "mb",
        "ha",
        "sq",
        "cc",
        "px",
        "pt",
        "pcs",
        "dB",
        "kJ",
        "kcal",
        "cal",
        "rpm",
        "mA",
        "kV",
        "mV",
        "kN",
        "USD",
        "EUR",
        "GBP",
        "INR",
        "yrs",
        "yr",
        "wk",
        "wks",
        "mo",
    ]
)
_FUNCTIONS = frozenset(["mod", "log", "sin", "cos", "tan", "and", "pth", "nth", "sqrt", "pi", "exp", "lim", "max"])
_ATTACHED = re.compile(
    _any(
        r"_\{?[A-Za-z\d]",  # an index or a base
        r"\^(?!\{?\s?\\circ|\{?\u00b0)",
        r"\*\*?(?=[\dA-Za-z(\\])(?<=[\d.)]\*)(?=[(\\]|[a-z](?![a-z])|\d)",
        r"['\u00b0:#\u2032\u2033]\d",  # 5'10, 3:30
        r"[-\u2013/.,]\d",
        r"/[bcefi-knopqrtu-z](?![A-Za-z])",  # 1/x, where 18/h is 18 an hour
        r"\*\*\d",
        r"\((?![A-Za-z]{3}|\$)",  # 5(x + 1)
        "!",
        r"!?\{",
        rf"[{''.join(VULGAR)}\u221a\u221b\u2070\u00b9\u00b2\u00b3\u2074-\u2079\u2080-\u2089\u0305]",
        r"-[A-Za-z](?![A-Za-z])",
    ),
    re.ASCII,
)
_LETTERS = re.compile(r"[A-Za-z]+")
_VARIABLE = re.compile(
    rf"(?:{CLOSE}|[ ]){{0,8}}(?<![A-Za-z])(?P<letter>[b-zB-HJ-Z])(?![\w&'\u00c0-\uffff]|\.[A-Za-z])", re.ASCII
)
_HARMLESS = _any(
    *[
        "text",
        "mathrm",
        "mathbf",
        "textbf",
        "circ",
        "degree",
        "rm",
        "bf",
        "quad",
        "qquad",
        "right",
        "end",
        "approx",
        "equiv",
        "implies",
        "Rightarrow",
        "hline",
        "newline",
    ],
    *[
        "item",
        "mbox",
        "operatorname",
        "unit",
        "dollars",
        "euro",
        "pounds",
        "cent",
        "color",
        "hfill",
        "boxed",
        "begin",
        "tag",
        "label",
        "checkmark",
    ],
    *["therefore", "because", "square", "blacksquare", "ldots", "dots", "%", "\\$"],
    r"in\b",
    r"si\b",
    r"n\b",
    r"(?:times|cdot)\s?\\text",
)
"""LaTeX commands behind which a number is still the whole."""
_FORMULA = re.compile(
    rf"(?:{CLOSE}|[ ]|\\){{0,8}}"
    + _any(
        rf"(?<=\\)(?!{_HARMLESS})[a-zA-Z]{{2,}}",
        r"(?<=\\)mathrm\{[eid]\}",
        r"[+\u00d7\u00f7\u00b1\u2213\u2219\u22c5](?!\s?\Z)",
        r"=?[<\u2264\u2265\u2260>](?![/A-Za-z|!\n])",
        r"\u00b7(?=[ ]?[\w(\\])",
        r"[\u0394\u0398\u039b\u03a0\u03a3\u03a6\u03a8\u03b1-\u03bb\u03bd-\u03c9\u221e\u222b\u221a](?![a-z])",
        r"-[ ]?(?=[(\\\u221a$]|[A-Za-z](?![A-Za-z']))",
        r"(?<=[ ])-[ ](?=\d)",
        r"(?<=[})$\\])-\d",
        r"(?<=[)}])\((?=[\dA-Za-z\\])",
        r"(?<=[})$])\^(?!\{?\\circ)",
    )
)
_PARTS = [
    "quarters?[",
    "]of",
    "half",
    "third",
    "fourth",
    "fifth",
    "sixth",
    "seventh",
    "eighth",
    "ninth",
    "tenth",
    "hundredth",
    "thousandth",
]
_CONTINUES = re.compile(
    rf"(?:{CLOSE}){{0,4}}[ -]?"
    + _any(
        r"[ap]\.?m\b",
        r"[AP]\.?M\b",
        "o'clock",
        r"(?:st|nd|rd|th)\b",
        r"times[ ](?:as|more|less|the|that|bigger|larger|smaller|greater|faster|older|\d)",
        r"(?:more|less|fewer)[ ]than[ ]\$?\d",
        r"(?:pi|choose|mod|modulo|base|halves|score|gross|squared|cubed|mil)\b",
        r"\\?\(?p?mod\b",
        "in[ ]base",
        "factorial",
        r"(?:,[ ])?(?:(?:with|and)[ ])?(?:an?[ ])?remainder\b",
        r"MM\b",
        r"[rR][ ]?\d",
        r"to[ ]the[ ](?:power|\w+[ ]power)",
        rf"{_any(*_PARTS)}s?\b(?![ ](?:of[ ]an?[ ]hour|grade))",
        "hundreds",
        "billones",
        "bilh\u00f5es",
        "billionen",
        "\u2030",
        r"percentage points?\b",
    )
)
_UNIT_WORDS = _any(
    r"[ ]?\\(?:text|mathrm|mbox)\{[^{}\n]{0,30}\}",
    r"[ ]?-?(?!(?:or|and|to|through|und|oder|ou|et|y|o|vs|out|in|per)\b)[^\W\d_]{1,16}\.?",
)
_SPELT = [
    *["zero", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"],
    *["thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty", "thirty", "forty"],
    *["fifty", "sixty", "seventy", "eighty", "ninety"],
]
_NEXT = (
    r"(?:[*_`$({\[\" ]|\\[(\[,;: ]|\\text\{)*"
    + _any(rf"[-+\u2013]?{CURRENCY}?[ ]?-?{BEGINS}", rf"{_any(*_SPELT)}\b")
)  # fmt: skip
_JOIN = re.compile(
    rf"(?:{CLOSE}|\\?%){{0,6}}(?:{_UNIT_WORDS}){{0,2}}(?:{CLOSE}){{0,6}}(?:\\text\{{)?"
    + _any(
        r",?[ ]?(?<![A-Za-z])(?P<either>or|oder|ou|o|\u0438\u043b\u0438)[ ]\}?",
        r"[ ]?(?:\\[,;: ])?\\(?:text|mathrm|mbox|textrm)\{[ ]?(?:(?P<either_text>or|oder|ou|o)|and|und|et|y|e|to)"
        r"[ ]?\}",
        r"[ ](?:by|[xX])[ ]",
        r",?[ ](?:and|und|et|y|e|\u0438|plus|minus)[ ]\}?",
        "[ ]?[\u6216\u548c\u4e0e\u3068\u81f3\u5230\u3001][ ]?",
        "[ ]?(?:\u307e\u305f\u306f|\ub610\ub294)[ ]?",
        "[ ][&/][ ]",
        r"[ ]and/or[ ]",
        r"[ ]?\((?:or|and)[ ]",
    )
    + rf"[ ]?(?:[A-Za-z][ ]?=[ ]?)?(?={_NEXT})",
    re.ASCII | re.IGNORECASE,
)
_BARE_JOIN = re.compile(
    rf"(?:{CLOSE}|\\?%){{0,6}}"
    + _any(
        r"[ ]?(?:to|through|until|vs\.?|versus|out[ ]of|of|per|by|bis|\u00e0|a)[ ]",
        r"[ ]?(?:[\u2013\u2014~\u301c]|\.\.\.|\u2026)[ ]?",
        r"[ ]in[ ](?=\d{1,9}[.)*$]|\d{1,9}\Z)",
        r";[ ]?(?:[A-Za-z][ ]?=[ ]?)?",
        r",[ ]?(?:[A-Za-z][ ]?=[ ]?|(?=\\[dt]?frac))",
        r"\\to[ ]",
    )
    + rf"(?={_NEXT})",
    re.ASCII,
)
_LIST = re.compile(rf"(?:{CLOSE}|\\?%){{0,6}}[,\u3001][ ]{{1,2}}(?={_NEXT})", re.ASCII)
_LIST_GOES_ON = re.compile(rf"(?:{CLOSE}|[ ]){{0,6}}(?:[,.;](?!\d)|(?:and|or|&)\b|[?!\n]|\Z)")
_MEASURE = re.compile(
    r"[ ]?(?:feet|foot|ft|hours?|hrs?|h|min(?:ute)?s?|weeks?|days?|years?|months?|pounds?|lbs?|yards?|yd|gallons?|"
    r"miles?|km|kg|m|dollars?|euros?|degrees?|\u00b0|['\u2032]|meters?|inches|cm)[,.]?[ ]?(?=\d)",
    re.ASCII,
)
_SPACED = re.compile(r"[ ](?=[-+]?\d)", re.ASCII)
_LINK = re.compile(r"(?:[*_`$({\[\"' ]|\\[(\[]|\\(?:text|mathrm|mathbf)\{|\\boxed\{)*")
_TOKEN = re.compile(r"[^\s,;()=]{1,80}")
LONGEST = 160
"""Characters that a quantity may have."""


def token_end(text: str, place: int, end: int) -> int:
    """Where the run of characters at `place` ends that belong together."""
    token = _TOKEN.match(text, place, end)
    return token.end() if token else place


def joined_until(prepared: Prepared, quantity: Quantity, end: int, *, running: bool) -> int | None:
    """Where what follows a quantity and belongs to it ends; None where the quantity stands alone.

    Args:
        prepared: The text.
        quantity: The quantity.
        end: Where what may belong to it ends.
        running: Whether it stands in running text, where "10 -3" are two numbers.
    """
    text, place = prepared.text, quantity.end
    attached = _attached(text, quantity, end)
    if attached is not None:
        return attached
    for pattern in (_JOIN, _BARE_JOIN):
        match = pattern.match(text, place, end)
        if match and not _repeats(prepared, quantity, match, end):
            return _past_number(prepared, match.end(), end)
    listed = _LIST.match(text, place, end)
    if listed:
        stop = _past_number(prepared, listed.end(), end)
        if _LIST_GOES_ON.match(text, stop, end):
            return stop
    found = _MEASURE.match(text, place, end) or (None if running else _SPACED.match(text, place, end))
    return _past_number(prepared, found.end(), end) if found else None


def _attached(text: str, quantity: Quantity, end: int) -> int | None:
    """Where a formula, a variable or a word ends that the quantity is a part of."""
    place = quantity.end
    attached = _ATTACHED.match(text, place, end)
    if attached and (attached.group() != "!" or quantity.integer):
        return token_end(text, attached.end(), end)
    letters = _LETTERS.match(text, place, end)
    if letters and not _is_unit(letters.group()):
        return letters.end()
    variable = _VARIABLE.match(text, place, end) if letters is None else None
    if variable and variable["letter"] not in _UNIT_LETTERS:
        return variable.end()
    after = letters.end() if letters else place
    match = _CONTINUES.match(text, after, end) or _FORMULA.match(text, after, end)
    return token_end(text, match.end(), end) if match else None


def _is_unit(letters: str) -> bool:
    if len(letters) == 1:
        return letters in _UNIT_LETTERS
    return letters in _UNITS or (len(letters) > 2 and letters.lower() not in _FUNCTIONS)


def _repeats(prepared: Prepared, quantity: Quantity, match: re.Match[str], end: int) -> bool:
    """Whether "1/2 or 0.5" says one number twice."""
    named = match.groupdict()
    if not (named.get("either") or named.get("either_text")):
        return False
    link = _LINK.match(prepared.text, match.end(), end)
    other = read_quantity(prepared, link.end() if link else match.end(), min(end, match.end() + LONGEST))
    if other is None:
        return False
    values = {other.value, other.value / 100 if other.percent else other.value}
    mine = {quantity.value, quantity.value / 100 if quantity.percent else quantity.value}
    return bool(values & mine)


def _past_number(prepared: Prepared, place: int, end: int) -> int:
    """The end of the number that a join leads to, and of those it is joined with in turn."""
    for _ in range(8):
        link = _LINK.match(prepared.text, place, end)
        begin = link.end() if link else place
        other = read_quantity(prepared, begin, min(end, begin + LONGEST)) if begin < end else None
        if other is None:
            return token_end(prepared.text, begin, end)
        place = other.end
        more = _JOIN.match(prepared.text, place, end) or _LIST.match(prepared.text, place, end)
        if more is None:
            return place
        place = more.end()
    return place
