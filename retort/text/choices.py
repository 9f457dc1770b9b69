"""Reading the letter of a multiple-choice answer.

Capital letters only, and a letter only where it cannot be a word: "the answer is A large number" reads nothing.
"The answer is (B) and (C)" reads the first letter, as every published rule does, but under a rule name of its own,
`several`, so that a caller can leave such answers out; the weaker rules read nothing there.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from retort.text.spans import Span, bold_spans, boxed_spans, last_matches, last_paragraph, tag_spans

_OPEN = r"(?:[\s*_`$({\[\"'\u201c\u2018:]|\\[(\[]|\\(?:text|mathbf|boxed|mathrm|textbf)\{){0,10}+"
_SECOND = r"\)?[*_]{0,2},?\s{0,2}(?:and|or|&|,)\s{0,2}(?:option\s|choice\s)?\(?[A-Z](?![\w'\u2019])"
_NO_SECOND = rf"(?!{_SECOND})"
_LETTER = (
    r"(?:(?:option|choice|letter|answer)\s)?\(?[*_]{0,2}(?P<letter>[A-Z])"
    r"(?=[)\]}*_`\"'\u201d\u2019.,:;$\\/]|\s{0,3}$|\s{0,3}\n|[^\x00-\x7f]"
    r"|\s(?:because|since|as|which|is|with|due|for|and|or|&)\b)"
)
_BARE = _LETTER.replace("?P<letter>", "?P<bare>")
_AND = re.compile(_SECOND)
_IS = r"(?:is|was|would be|will be|must be|should be|has to be)"
_HEDGE = r"(?:\s(?:therefore|thus|most likely|likely|clearly|closest to|best described by|best represented by))?"
_STATEMENT = re.compile(
    rf"\b[aA]nswer[*_]{{0,3}}(?:\sto (?:the|this) [a-z ]{{1,40}})?\s{_IS}{_HEDGE}{_OPEN}{_LETTER}"
    rf"|(?:\b[aA]nswer|\bANSWER)[*_]{{0,3}}\s?:{_OPEN}{_BARE}"
)
_NOUN = (
    r"(?:option|choice|answer|match|approximation|statement|value|one|selection|response|explanation|"
    r"correct|best|closest|right)s?"
)
_RIGHT = r"\s(?:is|would be)\s(?:the\s)?(?:most\s)?(?:correct|right|best|closest|answer|accurate|appropriate)\b"
_OPTION = re.compile(
    rf"\b{_NOUN}(?:\s[a-z ,']{{1,60}}?)?\s{_IS}{_HEDGE}{_OPEN}{_LETTER}{_NO_SECOND}"
    r"|\b(?:corresponds?|corresponding|matches|equivalent|leads?|points?)\s(?:to\s)?(?:the\s)?"
    rf"(?:option|choice|answer){_OPEN}{_BARE}{_NO_SECOND}"
    rf"|(?:^|[\s*])\((?P<first>[A-Z])\)[*_]{{0,2}}{_RIGHT}"
    rf"|\b(?:[oO]ption|[cC]hoice)\s[*_]{{0,2}}\(?(?P<named>[A-Z])\)?[*_]{{0,2}}(?:\s[^\n.]{{0,120}}?)?{_RIGHT}"
)
_BRACKETED = re.compile(r"\((?:[oO]ption\s)?[A-Z]\)|\b[oO]ption\s[A-Z]\b")
_CLOSING = re.compile(r"(?:\b\w+|:)\s[*$`_]{0,4}\((?:[oO]ption\s)?(?P<letter>[A-Z])\)[*$`_.\s]{0,8}\Z")
_WHOLE = re.compile(r"[\s*_`$({\[]{0,10}(?P<letter>[A-Z])(?:[\s*_`$)}\].]{0,10}|[.):][*_]{0,2}\s[^\n]{1,300})\Z")
_BOXED = re.compile(rf"{_OPEN}(?P<letter>[A-Z])(?=[)}}\].:,\s*]|\Z){_NO_SECOND}")
_LONGEST_SENTENCE = 400


class Choice(NamedTuple):
    """A letter, the rule that found it, and its place."""

    value: str
    rule: str
    start: int
    end: int


def read_choice(text: str, region: Span) -> Choice | None:
    """The letter that a response answers with, or None where it states none."""
    end = region.end
    while end > region.start and text[end - 1].isspace():
        end -= 1
    region = Span(region.start, end)
    return (
        _first(text, region, _STATEMENT, "statement")
        or _in_spans(text, boxed_spans(text, region), "boxed")
        or _in_spans(text, tag_spans(text, region), "tag")
        or _in_spans(text, bold_spans(text, last_paragraph(text, region)), "bold")
        or _last(text, region, _OPTION, "option")
        or _closing(text, region)
    )


def _first(text: str, region: Span, pattern: re.Pattern[str], rule: str) -> Choice | None:
    match = pattern.search(text, region.start, region.end)
    return _choice(match, rule) if match else None


def _last(text: str, region: Span, pattern: re.Pattern[str], rule: str) -> Choice | None:
    found = last_matches(pattern, text, region)
    return _choice(found[0], rule) if found else None


def _choice(match: re.Match[str], rule: str) -> Choice:
    group = next(name for name, value in match.groupdict().items() if value)
    if rule == "statement" and _AND.match(match.string, match.end(group)):
        rule = "several"
    return Choice(match[group], rule, *match.span(group))


def _in_spans(text: str, spans: list[Span], rule: str) -> Choice | None:
    for span in reversed(spans):
        match = _BOXED.match(text, span.start, span.end)
        if match:
            return _choice(match, rule)
    return None


def _closing(text: str, region: Span) -> Choice | None:
    """A text that is nothing but a letter, or ends in the only letter of its last sentence: "... is (B)."."""
    whole = _WHOLE.match(text, region.start, region.end)
    if whole:
        return _choice(whole, "closing")
    match = _CLOSING.search(text, max(region.start, region.end - 40), region.end)
    if match is None:
        return None
    start = max(region.start, match.start() - _LONGEST_SENTENCE)
    sentence = re.split(r"[.!?]\s|\n", text[start : region.end - 1])[-1]
    return _choice(match, "closing") if len(_BRACKETED.findall(sentence + ")")) == 1 else None
