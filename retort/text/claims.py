"""Where a response marks a letter as its answer: "the answer is (B)", "Answer: B", a box, a tag, "#### B".

A letter counts only where it cannot be a word or a symbol: "the answer is A large number" and "the answer is $A = 5$"
claim nothing. "The answer is (None of the above)" is a claim as well: of no letter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from retort.text.spans import Span, boxed_spans, tag_spans

MARKUP = (
    r"(?:[\s*_`$({\[\"'\u201c\u2018:\uff08]|\\[(\[]"
    r"|\\(?:text|mathbf|boxed|mathrm|textbf|bf|rm|fbox|textit)\s?\{){0,12}+"
)
"""What may stand between "is" and a letter."""

_AFTER = (
    r"(?=[)\]},:;$`\"|<\u201d\u2019\uff09]|\s?\\[)\]]|'(?!\w)|\.(?=[A-Z][a-z]|\W|\Z)|\*(?=\*|\W|\Z)|_(?=_|\W|\Z)"
    r"|\\[)\]]|/(?!A\b)"
    r"|\s{0,3}\Z|[ \t]{0,3}[\n|]|[^\x00-\x7f]|\s[-\u2013\u2014]\s(?=[A-Za-z]{2}|[\d$\\\"])|\s\("
    r"|\s{1,3}\\(?:text|quad|;)|\s(?:because|since|as|which|is|with|due|for|and|or|but|by|in|given|from|so|option"
    r"|&)\b|\s&)"
)
_NOUN = r"(?:[oO]ptions?|OPTION|[cC]hoices?|[lL]etter|[aA]nswer|[sS]tatement|number)\s"
TO_LETTER = rf"{MARKUP}(?:{_NOUN}{MARKUP})?"
LETTER = rf"[A-Z]{_AFTER}"
IS = r"(?:is|was|would be|will be|must be|should be|has to be|could be|might be|may be|appears to be|seems to be)"
HEDGE = (
    r"(?:\s(?:therefore|thus|then|hence|also|indeed|actually|simply|obviously|definitely|probably|most likely|"
    r"likely|clearly|most closely|closest to|closer to|best described by|best represented by|represented by|given by|"
    r"found in|approximately|"
    r"in fact|still|either)){0,2}"
)
_NOT_HYPOTHETICAL = r"(?<![iI]f the )(?<!if )(?<!ether the )(?<!ncorrect )(?<!wrong )(?<!Wrong )"
_STATEMENT = re.compile(
    rf"{_NOT_HYPOTHETICAL}\b(?:[aA]nswer|ANSWER)[*_\"]{{0,3}}(?:\s(?:choice|option|letter))?"
    rf"(?:\s(?:to|for) (?:the|this|that|your) [a-z ]{{1,40}})?[*_]{{0,3}},?\s{{1,3}}(?:{IS}|IS)\b{HEDGE}{TO_LETTER}"
    rf"(?P<stated>{LETTER})"
    rf"|\b(?:[aA]nswer|ANSWER|[aA]ns|(?:[cC]orrect|[fF]inal|[bB]est|[mM]y|[sS]elected|[cC]hosen)\s(?:[oO]ption"
    rf"|[cC]hoice))"
    rf"[*_\"']{{0,3}}(?:\s(?:[cC]hoice|[oO]ption|[lL]etter))?\s{{0,2}}[:=|]{TO_LETTER}(?P<labelled>{LETTER})"
    rf"|^[#*_ \t]{{0,8}}(?:[fF]inal |[cC]orrect )?[aA]nswer[*_ \t]{{0,5}}\n{TO_LETTER}(?P<headed>{LETTER})"
    rf"|####(?!#){TO_LETTER}(?P<hashed>{LETTER})"
    rf"|\b(?:[aA]nswer|[oO]ption|[cC]hoice)[*_]{{0,3}}\s(?:is|would be):?\s{{0,2}}"
    r"\((?P<small>[a-j])\)(?=[*_]{0,3}(?:\.[*_]{0,3}(?:\s|\Z)|\s{0,3}\Z|\s*\n))",
    re.MULTILINE,
)
_NONE = re.compile(
    rf"\b[aA]nswer[*_]{{0,3}}\s{IS}:?\s{{0,3}}(?:[(\[\"\u201c*_'`]{{1,4}}(?:[nN]one|[nN]ot|[nN]o|N/A|[cC]annot|[cC]an't"
    r"|[uU]nknown|[iI]nsufficient|\s?[)\]\"])|[nN]one of (?:the|these))"
    r"|\b[aA]nswer[*_]{0,3}\s?:[\s*_(]{0,6}"
    r"(?:[nN]one\b|[nN]ot (?:available|given|listed|provided|possible)|N/A|[cC]annot be)"
)
_INSIDE = re.compile(rf"{TO_LETTER}(?P<inside>{LETTER})")
_ANOTHER = re.compile(
    r"[)\]}*_]{0,4},?\s{0,3}(?:and|or|&|,|/|\+)\s{0,3}(?:also\s|either\s|or\s|and\s)?(?:[oO]ptions?\s"
    r"|[cC]hoice\s)?[(*_]{0,3}"
    r"(?P<letter>[A-J])(?=[)\]},.;:*_/]|\s(?:and|or|&|are|both)\b|\s{0,3}\n|\s{0,3}\Z)"
)
_LISTED = re.compile(
    r"\s{0,8}(?:[-*\u2022]\s|[*_]{0,2}\(?(?:\d{1,2}|[a-h])[.)]|(?:[fF]or )?(?:[pP]art|[qQ]uestion)\s"
    r"|[*_]{0,2}(?:[fF]or |[iI]n )?(?:[tT]he )?(?:[fF]irst|[sS]econd|[tT]hird|[fF]ourth|[fF]ifth|[sS]ixth|[lL]ast) "
    r"(?:[qQ]uestion|[pP]art|[pP]roblem))"
)
_FOR_A_QUESTION = re.compile(
    r"^[*_ \t]{0,4}[fF]or (?:the \w{1,8} |)[qQ]uestion(?: \d{1,2})?[*_]{0,2}:\s{1,4}\Z", re.MULTILINE
)
_LONGEST_LINE = 200


class Claim(NamedTuple):
    """What a response calls its answer at `text[start:end]`."""

    letters: str
    """One letter; more where several are named together ("(B) and (F)"); none for "none of the above"."""
    rule: str
    start: int
    end: int
    listed: bool = False
    """Whether it stands in an item of a list, as answers to several questions or parts do."""


def marked_claims(text: str, region: Span) -> list[Claim]:
    """All marked claims of a region, in order."""
    claims = list(_stated(text, region))
    claims += _inside(text, boxed_spans(text, region), "boxed")
    claims += _inside(text, tag_spans(text, region), "tag")
    claims += [Claim("", "none", *match.span()) for match in _NONE.finditer(text, region.start, region.end)]
    # a box inside a statement is one claim, and the statement's
    return sorted({claim.start: claim for claim in reversed(claims)}.values(), key=lambda claim: claim.start)


def letters_at(text: str, start: int, end: int) -> str:
    """The letter at `start` and those that are named together with it: "BF" at "(B) and (F)"."""
    letters, place = text[start].upper(), start + 1
    while (more := _ANOTHER.match(text, place, end)) and len(letters) < 26:
        if more["letter"] not in letters:
            letters += more["letter"]
        place = more.end("letter")
    return letters


def _stated(text: str, region: Span) -> Iterator[Claim]:
    for match in _STATEMENT.finditer(text, region.start, region.end):
        group = match.lastgroup
        assert group is not None
        start = match.start(group)
        if text.startswith("?", match.end(group)) or (text.startswith(")?", match.end(group))):
            continue
        line = text.rfind("\n", max(region.start, match.start() - _LONGEST_LINE), match.start()) + 1
        listed = _LISTED.match(text, max(line, region.start), match.start()) or _FOR_A_QUESTION.search(
            text, max(region.start, match.start() - _LONGEST_LINE), match.start()
        )
        rule = "hash" if group == "hashed" else "statement"
        yield Claim(letters_at(text, start, region.end), rule, start, start + 1, listed is not None)


def _inside(text: str, spans: list[Span], rule: str) -> Iterator[Claim]:
    for span in spans:
        match = _INSIDE.match(text, span.start, span.end)
        if match:
            start = match.start("inside")
            yield Claim(letters_at(text, start, span.end), rule, start, start + 1)
