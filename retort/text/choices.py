"""Reading the letter of a multiple-choice answer.

What a response marks as its answer (`retort.text.claims`) comes first. Where its marks differ, the last one counts, for
that is how a response corrects itself; but a response that says so more than ten times goes round in circles and
was cut off at an accidental place, so there the letter it says most often counts, if it is over half, else the first.
Answers in the items of a list belong to several parts or questions, and count only where there is no other.

"The answer is (B) and (F)" reads the first letter, as every published rule does, but under a rule name of its own,
`several`, so that a caller can leave such answers out; a later sentence that decides between them counts instead.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from retort.text.claims import LETTER, TO_LETTER, Claim, letters_at, marked_claims
from retort.text.conclusions import concluded, denied_before, named_options
from retort.text.corrections import answers_in_a_row, declines_the_last, last_reasoned
from retort.text.option_texts import echoed_option, lettered_option, option_text_claim
from retort.text.spans import Span, bold_spans, last_paragraph

_CLOSING = re.compile(
    r"(?:\b\w+|[:\"\u201d%)])\s[*$`_]{0,4}\\?\(\s?(?:[oO]ption\s)?(?P<letter>[A-J])\s?\\?\)[*$`_.\s]{0,8}\Z"
)
_WHOLE = re.compile(
    r"[\s*_`$({\[#]{0,10}(?:[oO]ption\s)?(?P<letter>[A-Z])(?:[\s*_`$)}\].]{0,10}"
    r"|[*_]{0,2}[.):][*_]{0,2}\s(?:(?![.!?]\s)[^\n]){1,120})\Z"
)
_OPENING = re.compile(
    r"\s{0,8}[*_(]{0,4}(?:[oO]ption\s)?(?P<letter>[A-J])"
    r"(?:[*_).:]{0,5}[ \t]{0,3}\n|[).:][*_]{0,2}\s[^\n]{1,120}\n\s{0,3}\n)"
)
_LIST_LINE = re.compile(r"^[\s*_(]{0,6}[A-J][).:]", re.MULTILINE)
_INSIDE = re.compile(rf"{TO_LETTER}(?P<letter>{LETTER})")
_OTHER_QUESTIONS = re.compile(r"\b(?:each|every|all(?: the)?|first|second) questions?\b", re.IGNORECASE)
_LOOP = 10
_LONGEST_SENTENCE = 400
_LONGEST = 600


class Choice(NamedTuple):
    """A letter, the rule that found it, and its place."""

    value: str
    rule: str
    start: int
    end: int


def read_choice(text: str, region: Span, options: Sequence[str] = ()) -> Choice | None:
    """The letter that a response answers with, or None where it states none.

    Args:
        text: The response.
        region: The part of it that answers.
        options: Texts of the options, where they are known; an answer may then be one of these texts.
    """
    end = region.end
    while end > region.start and text[end - 1].isspace():
        end -= 1
    region = Span(region.start, end)
    marks = marked_claims(text, region)
    claim = _decide(text, marks, region.end) if marks else None
    if claim is not None and len(claim.letters) == 1:
        return _choice(claim)
    if claim is None and marks:
        region = Span(region.start, text.rfind("\n", region.start, marks[0].start) + 1 or region.start)
    after = region if claim is None else Span(claim.end if claim.letters else marks[-1].end, region.end)
    later = concluded(text, after)
    if (
        later is not None
        and not (claim and claim.listed)
        and (claim is None or not claim.letters or later.letters[0] in claim.letters)
    ):
        return _choice(later)
    if claim is not None and claim.letters:
        return _choice(claim)
    if claim is not None:  # "none of the above", which may be an option
        found = option_text_claim(text, region, options)
        return _choice(found) if found is not None else None
    return next(
        (
            _choice(found)
            for found in (
                option_text_claim(text, region, options),
                echoed_option(text, region, options),
                lettered_option(text, region, options),
                _bold(text, region),
                _closing(text, region),
                _whole(text, region),
            )
            if found is not None
        ),
        None,
    )


def _choice(claim: Claim) -> Choice:
    rule = claim.rule if len(claim.letters) == 1 else "several"
    return Choice(claim.letters[0], rule, claim.start, claim.end)


def _decide(text: str, claims: list[Claim], end: int) -> Claim | None:
    """Which of the marked claims is the answer; None where they answer several questions of the response's own."""
    listed = [claim for claim in claims if claim.listed]
    if len({claim.letters for claim in listed}) > 1:
        alone = [claim for claim in claims if not claim.listed]
        if not alone and _OTHER_QUESTIONS.search(text, max(0, claims[0].start - _LONGEST), claims[0].start):
            return None
        if not alone:
            letters = "".join(dict.fromkeys("".join(claim.letters for claim in listed)))
            return listed[0]._replace(letters=letters)
        claims = alone
    row = answers_in_a_row(text, claims[: _LOOP + 1])
    if row > 2 and row == len(claims) and declines_the_last(text, max(0, claims[0].start - _LONGEST), end):
        return None
    if len(claims) <= _LOOP:
        return last_reasoned(text, claims, end)
    letters, times = Counter(claim.letters for claim in claims).most_common(1)[0]
    return next(claim for claim in claims if claim.letters == letters) if 2 * times > len(claims) else claims[0]


def _bold(text: str, region: Span) -> Claim | None:
    """The one letter that stands in bold in the last paragraph."""
    found: dict[str, Claim] = {}
    for span in bold_spans(text, last_paragraph(text, region)):
        match = _INSIDE.match(text, span.start, span.end)
        if match:
            start = match.start("letter")
            found[match["letter"]] = Claim(letters_at(text, start, span.end), "bold", start, start + 1)
    return next(iter(found.values())) if len(found) == 1 else None


def _closing(text: str, region: Span) -> Claim | None:
    """The text ends in the only letter that its last paragraph names: "... is (B)."."""
    match = _CLOSING.search(text, max(region.start, region.end - 40), region.end)
    if match is None:
        return None
    start = max(region.start, match.start() - _LONGEST_SENTENCE)
    last = re.split(r"[.!?]\s|\n", text[start : region.end - 1])[-1]
    sentence = Span(region.end - 1 - len(last), region.end)
    before = named_options(text, Span(start, sentence.start))
    denied = denied_before(text, Span(sentence.start, match.start("letter") - 1))
    named = named_options(text, sentence) | {match["letter"]}  # a formula \\( H \\) is named in no other place
    if denied or len(named) > 1 or len(before - {match["letter"]}) > 2:
        return None
    return Claim(match["letter"], "closing", *match.span("letter"))


def _whole(text: str, region: Span) -> Claim | None:
    """A text that is nothing but a letter, or whose first line is, with no list of options behind it."""
    match = _WHOLE.match(text, region.start, region.end)
    if match is None:
        match = _OPENING.match(text, region.start, region.end)
        if match is None or _LIST_LINE.search(text, match.end(), region.end):
            return None
    return Claim(match["letter"], "closing", *match.span("letter"))
