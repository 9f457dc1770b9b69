"""Reading the letter of a multiple-choice answer."""

from __future__ import annotations

import re
from typing import NamedTuple

from retort.text.spans import Span, bold_spans, boxed_spans, last_paragraph, tag_spans

_OPEN = r"(?:[\s*_`$({\[\"'“‘:]|\\[(\[]|\\(?:text|mathbf|boxed|mathrm|textbf)\{){0,10}+"
# a bare A or I may be a word: it counts only where the sentence ends or a bracket, colon or markup closes it
_LETTER = (
    r"(?:(?:(?:option|choice|letter|answer)\s)?\(?[*_]{0,2}(?P<letter>[A-Z]))"
    r"(?=[)\]}*_`\"'”’.,:;$\\/]|\s{0,3}$|\s{0,3}\n|\s(?:because|since|as|which|and|or|is|with|due|for)\b|[^\x00-\x7f])"
)
_IS = r"(?:is|was|would be|will be|must be|should be|has to be)"
_STATEMENT = re.compile(
    rf"\b[aA]nswer[*_]{{0,3}}(?:\sto [^\n.:]{{1,80}}?)?\s{_IS}(?:\s(?:therefore|thus|option|choice|most likely|likely|clearly))?{_OPEN}{_LETTER}"
    rf"|(?:\b[aA]nswer|\bANSWER)[*_]{{0,3}}\s?:{_OPEN}{_LETTER.replace('letter>', 'labelled>')}"
)
_OPTION = re.compile(
    rf"\b(?:option|choice|answer|match|approximation|statement|value|one|selection)s?(?:\s[a-z ,']{{1,60}}?)?\s{_IS}"
    rf"(?:\s(?:therefore|thus|option|choice|likely))?{_OPEN}{_LETTER}"
    rf"|\b(?:[oO]ption|[cC]hoice){_OPEN}(?P<named>[A-Z])[)*_\]]{{0,4}}(?:\s[^\n.]{{0,120}}?)?\s(?:is|would be)\s(?:the\s)?(?:most\s)?(?:correct|right|best|closest|answer|accurate|true|appropriate)\b"
)
_CLOSING = re.compile(r"(?:^|[\s*$`:])\((?P<letter>[A-Z])\)[*$`\s.]{0,8}\Z")
_WHOLE = re.compile(r"[\s*_`$({\[]{0,10}(?P<letter>[A-Z])(?:[\s*_`$)}\].]{0,10}|[.):][*_]{0,2}\s[^\n]{1,300})\Z")
_BOXED = re.compile(rf"{_OPEN}(?:\()?(?P<letter>[A-Z])(?=[)}}\].:,\s]|\Z)")


class Choice(NamedTuple):
    """A letter, the rule that found it, and its place."""

    value: str
    rule: str
    start: int
    end: int


def read_choice(text: str, region: Span) -> Choice | None:
    """The letter that a response answers with, or None where it states none."""
    found = _first(text, region, _STATEMENT, "statement")
    if found is None:
        found = _in_spans(text, boxed_spans(text, region), "boxed")
    if found is None:
        found = _in_spans(text, tag_spans(text, region), "tag")
    if found is None:
        found = _in_spans(text, bold_spans(text, last_paragraph(text, region)), "bold")
    if found is None:
        found = _last(text, region, _OPTION, "option")
    return found or _closing(text, region)


def _first(text: str, region: Span, pattern: re.Pattern[str], rule: str) -> Choice | None:
    match = pattern.search(text, region.start, region.end)
    return _choice(match, rule) if match else None


def _last(text: str, region: Span, pattern: re.Pattern[str], rule: str) -> Choice | None:
    found = None
    for match in pattern.finditer(text, region.start, region.end):
        found = _choice(match, rule)
    return found


def _choice(match: re.Match[str], rule: str) -> Choice:
    group = next(name for name, value in match.groupdict().items() if value)
    return Choice(match[group], rule, *match.span(group))


def _in_spans(text: str, spans: list[Span], rule: str) -> Choice | None:
    for span in reversed(spans):
        match = _BOXED.match(text, span.start, span.end)
        if match:
            return _choice(match, rule)
    return None


def _closing(text: str, region: Span) -> Choice | None:
    end = region.end
    while end > region.start and text[end - 1].isspace():
        end -= 1
    start = max(region.start, end - 40)
    match = _CLOSING.search(text, start, end)
    if match is None:
        line = max(region.start, text.rfind("\n", region.start, end) + 1)
        match = _WHOLE.match(text, line, end)
    return _choice(match, "closing") if match else None
