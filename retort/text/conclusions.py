"""Where a response concludes on an option without calling it the answer.

"The closest option is (G)", "(B) is correct", "which corresponds to option D", "The most likely diagnosis is (J)". Such
a sentence counts where it names one option only, does not deny it, and either says that it concludes or is the
last one to name any.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from retort.text.claims import HEDGE, IS, LETTER, MARKUP, TO_LETTER, Claim, letters_at
from retort.text.spans import Span, last_matches

_BEST = r"(?:correct|right|best|closest|accurate|appropriate|likely|answer|choice|plausible|suitable|nearest)"
_EXPLICIT = re.compile(
    rf"\b(?:[oO]ption|[cC]hoice|[sS]election|[aA]lternative|[mM]atch|[aA]pproximation)s?\b(?:\s[^\n.;(]{{1,60}}?)?\s"
    rf"{IS}{HEDGE}{TO_LETTER}(?P<option>{LETTER})"
    rf"|\b(?:{_BEST}|most|least|only|greatest)\b[^\n.;:]{{0,90}}?\s{IS}{HEDGE}[:,]?{MARKUP}"
    r"(?P<lettered>[A-J])(?=[.):][*_]{0,2}\s|[)*_]{1,4}[.\s]|\s\(\$?\d)"
    rf"|\b{IS}{HEDGE}[*_]{{0,3}}:[ \t]{{0,3}}\n{MARKUP}(?P<below>[A-J])(?=[.)][*_]{{0,2}}\s)"
    rf"|\bmak(?:es|ing)\s(?:[oO]ption\s)?\(?(?P<made>[A-J])\)?\s(?:the\s)?(?:most\s)?{_BEST}\b"
    rf"|\b(?:[cC]orrespond(?:s|ing)?|match(?:es|ing)?|equivalent|leads?|points?|close(?:st|r)?|equal)\s"
    rf"(?:most closely )?(?:to |with )?(?:the )?(?:option|choice|answer)s?{TO_LETTER}(?P<mapped>{LETTER})"
    rf"|\b(?:choose|select|pick|go with|opt for|chose|chosen|going with)\s(?:option |choice |answer )?[*_(]{{0,4}}"
    rf"(?P<chosen>(?!I\s){LETTER})"
    rf"|(?:^|[\s*])(?:\([*_]{{0,2}}(?P<first>[A-J])[*_]{{0,2}}\)|[*_]{{0,2}}(?P<bare>[A-J])[*_)]{{0,3}})[*_.:]{{0,3}}"
    rf"(?:\s[^\n.]{{0,80}}?)?\s(?:is|would be)\s(?:the |thus the |therefore the )(?:most |single |only )?{_BEST}\b"
    rf"|\b(?:[oO]ption|[cC]hoice|[sS]tatement)\s[*_]{{0,2}}\(?(?P<named>[A-J])\)?[*_]{{0,2}}(?:\s[^\n.]{{0,120}}?)?\s"
    rf"(?:is|would be|seems|appears)\s(?:to be )?(?:the )?(?:most )?{_BEST}\b"
    r"|(?:\u7b54\u6848|\u6545\u9009|\u5e94\u9009|\u9009\u62e9)(?:\u5e94?[\u662f\u4e3a]|\uff1a"
    r"|:)?\s{0,2}(?:\u9009\u9879)?\s{0,2}[(\uff08]?"
    r"(?P<chinese>[A-J])(?![A-Za-z])"
    r"|\u9009\u9879?\s{0,2}[(\uff08]?(?P<right>[A-J])[)\uff09]?\s{0,2}(?:\u662f)?\u6b63\u786e",
    re.MULTILINE,
)
_VERDICTS = {"first", "bare", "named"}
"""Groups of sentences about one option; where several options are called right, they are judged one by one."""
_CHINESE = {"chinese", "right"}
_REFERENCE = re.compile(
    r"(?<![\w\\])\([*_]{0,2}(?:[oO]ption\s|[cC]hoice\s)?(?P<bracketed>[A-J])[*_]{0,2}\)"
    r"|\b(?:[oO]ption|[cC]hoice)s?\s[*_]{0,2}\(?(?P<named>[A-J])(?![\w'\u2019])\)?"
)
_CONCLUDES = re.compile(
    r"\b(?:[tT]herefore|[tT]hus|[hH]ence|[sS]o,|[sS]o the|conclu\w+|[aA]ccordingly|correct|best|most|least|closest"
    r"|nearest|answer|incorrect statement|incorrect option|false statement|exception)\b"
)
_LINK = re.compile(
    rf"(?:\b(?:{IS}|be|as|to|with|option|choice)|:|\bsuggests|\bmaking|\bwhich is){HEDGE}"
    r"(?:\s(?:the\s)?(?:option|choice|statement|answer|closest to|option letter))?[\s*_\"'\u201c(:]{0,6}\Z"
)
_COPULA = re.compile(rf"\b{IS}\b")
_DENIED_BEFORE = re.compile(
    r"(?:\b(?:not|never|neither|nor|than|unlike|eliminates?|eliminating|excludes?|excluding|unless|if|whether|consider)"
    r"|n't)\s(?:the\s|answer\s)?[\s*_\"'\u201c(]{0,4}(?:option\s|choice\s)?[\s*_(]{0,4}\Z"
)
_HYPOTHETICAL = re.compile(r"\b(?:[iI]f|[wW]hether|[sS]uppos\w+|[aA]ssum\w+)\b[^,.\n]{0,80}\Z")
_DENIED_AFTER = re.compile(
    r"[)*_\"'\u201d]{0,4}(?:\s[^\n.;]{0,60}?)?\s(?:(?:is|are|was|were|would be|seems|does|do|can)\s?(?:not|n't)"
    r"|isn't|aren't|doesn't|don't|(?:is|are|was|were|would be|seems)\s(?:\w+\s)?"
    r"(?:incorrect|wrong|false|invalid|eliminated|unlikely|irrelevant|impossible))"
)
_WITHDRAWN = re.compile(
    r"[^\n]{0,120}?\b(?:but|however|although|though)\b[^\n.]{0,60}?(?:\bnot|n't)\s(?:\w+\s)?"
    r"(?:correct|right|valid|the answer)\b",
    re.IGNORECASE,
)
_BLANK = re.compile("[(\uff08][ \u3000]{1,4}[)\uff09]|\uff08\uff09")
"""The blank of a Chinese examination question: a model that runs on into one answers that question."""
_SENTENCE = re.compile(r"[.!?](?=[\s*_\"'\u201d)]|\Z)|\n")
_STARTS = (". ", ".\n", "\n", "? ", "! ", "; ", ".\t")
_LONGEST = 500
_TAIL = 20_000
"""Characters at the end of a response in which it may conclude."""
_SENTENCES = 6
_FEW = 2
"""Other options that the sentences before may discuss; a last sentence after more of them need not be the answer."""


class _Reference(NamedTuple):
    letter: str
    start: int
    end: int
    sentence: Span


def concluded(text: str, region: Span) -> Claim | None:
    """The option that the region concludes on, or None."""
    region = Span(max(region.start, region.end - _TAIL), region.end)
    explicit = _explicit(text, region)
    implied = _implied(text, region)
    found = [claim for claim in (explicit, implied) if claim is not None]
    return max(found, key=lambda claim: claim.start, default=None)


def named_options(text: str, region: Span) -> set[str]:
    """Letters of the options that are named in brackets, or as "option X"."""
    return {_letter(match)[0] for match in _REFERENCE.finditer(text, region.start, region.end)}


def denied_before(text: str, before: Span) -> bool:
    """Whether what stands at the end of a span denies what follows: "it is not", "rather than"."""
    return _DENIED_BEFORE.search(text, max(before.start, before.end - 40), before.end) is not None


def _explicit(text: str, region: Span) -> Claim | None:
    matches = last_matches(_EXPLICIT, text, region)
    called_right = {match[match.lastgroup or 0] for match in matches if match.lastgroup in _VERDICTS}
    for match in matches:
        group = match.lastgroup
        assert group is not None
        if group in _CHINESE and _BLANK.search(text, region.start, region.end):
            continue
        if group in _VERDICTS and len(called_right) > 1:
            continue
        start = match.start(group)
        sentence = _sentence_around(text, start, region)
        denied = any(denied_before(text, Span(sentence.start, place)) for place in (match.start(), start))
        if denied or _withdrawn(text, start + 1, sentence, region):
            continue
        if len(letters_at(text, start, region.end)) == 1:
            return Claim(text[start], "option", start, start + 1)
    return None


def _implied(text: str, region: Span) -> Claim | None:
    """The last sentence that names one option in the place where a conclusion has it."""
    seen: list[Span] = []
    for reference in _references(text, region):
        if seen and reference.sentence == seen[-1]:
            continue
        last = not seen
        seen.append(reference.sentence)
        if len(seen) > _SENTENCES:
            return None
        if (
            _names_one(text, reference)
            and _affirmed(text, reference, last)
            and not _withdrawn(text, reference.end, reference.sentence, region)
        ):
            return Claim(reference.letter, "option", reference.start, reference.start + 1)
    return None


def _names_one(text: str, reference: _Reference) -> bool:
    return named_options(text, reference.sentence) == {reference.letter}


def _affirmed(text: str, reference: _Reference, last: bool) -> bool:
    start, end = reference.sentence
    concludes = _CONCLUDES.search(text, start, end) is not None
    opening = _REFERENCE.search(text, start, end)
    place = opening.start() if opening else reference.start
    linked = _LINK.search(text, max(start, place - 60), place) is not None
    denied = denied_before(text, Span(start, place)) or _HYPOTHETICAL.search(text, start, place) is not None
    denied = denied or _DENIED_AFTER.match(text, reference.end, end) is not None
    ends = not text[reference.end : end].strip(" )*_.\"'\u201d$")
    complete = (end < len(text) and text[end : end + 1] in ".!?\n") or text[end - 1 : end] in ".!?)"
    if denied:
        return False
    says = _COPULA.search(text, start, place) is not None
    if not concludes:
        others = named_options(text, Span(max(0, start - _LONGEST), start)) - {reference.letter}
        return last and (linked or (says and ends and complete)) and len(others) <= _FEW
    return linked or (last and complete and (ends or says))


def _references(text: str, region: Span) -> list[_Reference]:
    """The last references to options, the last one first."""
    found = []
    for match in last_matches(_REFERENCE, text, region):
        letter, start = _letter(match)
        found.append(_Reference(letter, start, match.end(), _sentence_around(text, match.start(), region)))
    return found


def _letter(match: re.Match[str]) -> tuple[str, int]:
    group = match.lastgroup
    assert group is not None
    return match[group], match.start(group)


def _sentence_around(text: str, place: int, region: Span) -> Span:
    low = max(region.start, place - _LONGEST)
    start = max(
        [low, *(text.rfind(mark, low, place) + len(mark) for mark in _STARTS if text.find(mark, low, place) >= 0)]
    )
    match = _SENTENCE.search(text, place + 1, min(region.end, place + _LONGEST))
    # a full stop right behind the letter belongs to it: "E. 950, but that is not correct"
    return Span(start, match.start() if match else min(region.end, place + _LONGEST))


def _withdrawn(text: str, place: int, sentence: Span, region: Span) -> bool:
    """Whether the claim is taken back at once, as in "The closest option is E. 950, but that's not correct"."""
    return _WITHDRAWN.match(text, place, min(region.end, max(sentence.end, place) + _LONGEST)) is not None
