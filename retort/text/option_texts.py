"""Reading an answer that is given as the text of an option instead of its letter."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Sequence

from retort.text.claims import Claim
from retort.text.equal import as_fraction
from retort.text.spans import Span, boxed_spans, last_matches, line_after, sentence_of, tag_spans

_STATEMENT = re.compile(
    r"\b[aA]nswer[*_]{0,3}(?:\s(?:to|for) (?:the|this|that) [a-z ]{1,40})?\s?"
    r"(?:\s(?:is|would be|must be|should be)|:)[:\s*_\"\u201c(]{0,6}"
    r"|^[#*_ \t]{0,8}(?:[fF]inal |[cC]orrect )?[aA]nswer[*_ \t]{0,5}\n",
    re.MULTILINE,
)
_DRESS = re.compile(r"\\(?:text|mathrm|mathbf|boxed|textbf)\s?\{|\\[,;! ]|[$*_`{}\"\u201c\u201d]")
_REFERENCE = re.compile(r"\((?:[oO]ption\s)?(?P<letter>[A-Z])\)")
_LETTERED = re.compile(r"(?<![\w.])[(*_`\"]{0,4}(?P<letter>[A-J])[.):][*_]{0,2}\s")
_WITHDRAWS = re.compile(r"\b(?:answer|not correct|incorrect|however|wrong|but)\b", re.IGNORECASE)
_LONGEST = 400


def option_text_claim(text: str, region: Span, options: Sequence[str]) -> Claim | None:
    """The one option whose whole text the response states as its answer, or is; None where no or several fit.

    Args:
        text: The response.
        region: The part of it that answers.
        options: Texts of the options, in the order of their letters.
    """
    if not options:
        return None
    keys = [_key(option) for option in options]
    for span in _places(text, region):
        if span.end - span.start > _LONGEST:
            continue
        said = _key(text[span.start : span.end])
        number = as_fraction(said)
        fits = [
            letter
            for letter, key in zip(string.ascii_uppercase, keys, strict=False)
            if said and (key == said or (number is not None and as_fraction(key) == number))
        ]
        if len(fits) == 1:
            return Claim(fits[0], "option_text", span.start, span.end)
    return None


def echoed_option(text: str, region: Span, options: Sequence[str]) -> Claim | None:
    """The only option that a response names, where its letter stands right behind its text: "renal failure (I)"."""
    matches = last_matches(_REFERENCE, text, region)
    if not options or len({match["letter"] for match in matches}) != 1:
        return None
    for match in matches:
        place = string.ascii_uppercase.index(match["letter"])
        key = _key(options[place]) if place < len(options) else ""
        before = _key(text[max(region.start, match.start() - _LONGEST) : match.start()])
        if key and re.search(rf"(?:^|\W){re.escape(key)}$", before):
            return Claim(match["letter"], "option", *match.span("letter"))
    return None


def lettered_option(text: str, region: Span, options: Sequence[str]) -> Claim | None:
    """The only option that a response writes out behind its letter: "... is referred to as B. negative feedback."."""
    found: dict[str, Claim] = {}
    for match in last_matches(_LETTERED, text, region) if options else ():
        place = string.ascii_uppercase.index(match["letter"])
        key = _key(options[place]) if place < len(options) else ""
        behind = _key(text[match.end() : min(region.end, match.end() + len(key) + _LONGEST)])
        if key and re.match(rf"{re.escape(key)}(?!\w)", behind):
            found[match["letter"]] = Claim(match["letter"], "option", *match.span("letter"))
    if len(found) != 1:
        return None
    claim = next(iter(found.values()))
    return None if _WITHDRAWS.search(text, claim.end, region.end) else claim


def _places(text: str, region: Span) -> Iterator[Span]:
    for match in last_matches(_STATEMENT, text, region):
        line = line_after(text, match.end(), region.end)
        yield line
        yield sentence_of(text, line)
    yield from reversed(boxed_spans(text, region))
    yield from reversed(tag_spans(text, region))
    yield region


def _key(text: str) -> str:
    return " ".join(_DRESS.sub("", text).casefold().split()).strip(" .,;:()")
