"""Reading the final answer of a response: a fixed order of rules for each kind of answer.

An answer is read only where the text states one. The rules are tried in order, and the first that reads something
wins; `Answer.rule` names it. Before any rule, the text is narrowed to what answers this question: what follows a
closed `</think>`, up to where a base model runs on into another question.

number: `hash` (a line `#### 18`, the first; marks inside sentences, the last), `a_line` (a line `A: 18`, the last),
    `boxed` (the last), `tag` (`<answer>18</answer>`), `statement` ("the answer is 18", the last), `bold` (the last
    bold number of the last paragraph), `last_number` (nothing marks an answer: the last number, as the published
    "flexible" rules do; of the last 16,000 characters).
choice: `statement` ("the answer is (B)", "Answer: B"), `boxed`, `tag`, `hash`: the last of all these
    (`retort.text.choices`), `several` where it names more than one letter; then `option` ("the closest option is (B)",
    "option B is correct", `retort.text.conclusions`), `option_text` (the text of an option stands for its letter),
    `bold`, `closing` (the text ends in "(B)", or is a letter).
expression: `boxed`, `tag`, `hash`, `statement`, `formula` (the last formula of the last paragraph).
text: `hash`, `boxed`, `tag`, `statement`, `whole` (a text of one line).
open: `everything`: the response is the answer, and a judge says what it is worth (`retort.judge`).

Every pattern has bounded or possessive quantifiers, so time is linear in the length of the text.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

from retort.config.data import AnswerType
from retort.text.choices import read_choice
from retort.text.numbers import Number, Unread, find_number, goes_on, numbers_in, used_otherwise
from retort.text.spans import (
    Span,
    bold_spans,
    boxed_spans,
    last_matches,
    last_paragraph,
    line_after,
    narrow,
    sentence_of,
    tag_spans,
)


@dataclass(frozen=True)
class Answer:
    """An answer that was read, and where: `text[start:end]` is what stated it."""

    value: str
    """Normalised: a plain number ("-17", "0.5", "1/4", "50%"), an upper-case letter, or stripped text."""
    rule: str
    """Name of the rule that found it."""
    start: int
    end: int


def read_answer(text: str, kind: AnswerType, options: Sequence[str] = ()) -> Answer | None:
    """Read the final answer of a response, or None where it states none.

    Args:
        text: The whole response; it may be cut off, empty, or run on into further questions.
        kind: The kind of answer to look for, which decides the rules and their order (see the module).
        options: Texts of the options of a multiple-choice question, where they are known.
    """
    region = narrow(text)
    if region.start == region.end:
        return None
    if kind == "choice":
        choice = read_choice(text, region, options)
        return None if choice is None else Answer(choice.value, choice.rule, choice.start, choice.end)
    for rule, reader in _RULES[kind]:
        answer = reader(text, region)
        if isinstance(answer, Unread):  # it states something, which is no one number: another would be a guess
            return None
        if answer is not None:
            return Answer(answer.value, rule, answer.start, answer.end)
    return None


_Read = Number | Unread | None
_HASH = re.compile(r"####(?!#)[ \t]{0,8}")
_A_LINE = re.compile(r"^[ \t*]{0,4}A:[ \t*]{0,8}", re.MULTILINE)
_STATEMENT = re.compile(
    r"\banswer[*_]{0,3}(?: to [^\n.:]{1,80}?)?(?:\s(?:is|was|equals|would be|will be|must be|should be|comes to)\b)"
    r"[ \t]{0,4}:?[*_]{0,3}[ \t]{0,4}"
    r"|\b(?:la respuesta(?: final| correcta)? es|la r\u00e9ponse(?: finale| correcte)? est"
    r"|die (?:endg\u00fcltige |richtige )?"
    r"antwort (?:ist|lautet)|la risposta (?:finale |corretta )?\u00e8|a resposta (?:final |correta )?\u00e9"
    r"|het antwoord is|"
    r"(?:respuesta|r\u00e9ponse|antwort|risposta|resposta|antwoord|\u043e\u0442\u0432\u0435\u0442)(?: final"
    r"| finale)?[*_]{0,3}\s?:)[*_ \t:]{0,6}"
    r"|(?:\u7b54\u6848|\u7b54)(?:\u662f|\u4e3a|\u70ba|:|\uff1a)[*_ \t:]{0,4}|\u7b54\u3048(?:\u306f|:"
    r"|\uff1a)[*_ \t:]{0,4}|(?:\uc815\ub2f5|\ub2f5)(?:\uc740|\ub294|:)[*_ \t:]{0,4}",
    re.IGNORECASE,
)
_LABEL = re.compile(
    r"(?:\b(?:final|correct)[ _]answer|^[ \t*#_]{0,8}answer|\banswer)[*_]{0,3}[ \t]{0,4}[:=][*_ \t]{0,8}",
    re.IGNORECASE | re.MULTILINE,
)
_HEADING = re.compile(r"[ \t]{0,2}(?:[.):]+[*_ \t]{0,4}[^\s*_.)]|[^\n]{1,200}:[*_ \t]{0,4}$)", re.MULTILINE)
_ASSIGNED_TOO = re.compile(r"(?:\b(?:or|and)|[,;])[\s$\\(}]{0,6}[A-Za-z](?:_?\w)?\s?=")
_AND_ANOTHER = re.compile(
    r"[}$\s*).\\]{0,8}(?:</answer>)?[\s,;$*]{0,6}(?:,|or|and|&|;|\\text\{\s?(?:or|and)\s?\})[\s$*(\\[]{0,6}"
    r"(?:\\boxed|\\fbox|<answer>)?\s?\{?"
)
_SAYS_LITTLE = re.compile(
    r"\s{0,4}(?:therefore |thus |indeed )?(?:correct|right|helpful|clear|below|above|as follows|reasonable|verified|"
    r"consistent|reached|found|obtained|given)\b",
    re.IGNORECASE,
)
_EQUALS = re.compile(r"=|\u2248|\\approx")
_LONGEST_UNITS = 30
_MOST_HASHES = 256
_WINDOWS = (1_000, 16_000)
_EDGE = 100


def _number_hash(text: str, region: Span) -> _Read:
    """The number of the first line `#### 18`, which ends a solution; of marks inside sentences, the last one."""
    last = None
    for match in islice(_HASH.finditer(text, region.start, region.end), _MOST_HASHES):
        line = line_after(text, match.end(), region.end)
        number = find_number(text, line.start, line.end)
        # "#### 2. Count the apples" and "#### 3 days:" are headings of Markdown, not answers
        if number is None or _HEADING.match(text, number.end, line.end):
            continue
        before = text[max(region.start, match.start() - _EDGE) : match.start()]
        if last is None and not before.rpartition("\n")[2].strip(" \t*>-"):
            return number
        last = number
    return last


def _number_a_line(text: str, region: Span) -> _Read:
    return _last(text, region, _A_LINE, _short)


def _number_boxed(text: str, region: Span) -> _Read:
    return _in_spans(text, boxed_spans(text, region))


def _number_tag(text: str, region: Span) -> _Read:
    return _in_spans(text, tag_spans(text, region))


def _number_statement(text: str, region: Span) -> _Read:
    stated = _last(text, region, _STATEMENT, _stated)
    labelled = _last(text, region, _LABEL, _short)
    if stated is None or (labelled is not None and labelled.start > stated.start):
        return labelled
    return stated


def _number_bold(text: str, region: Span) -> _Read:
    paragraph = last_paragraph(text, region)
    for span in reversed(bold_spans(text, paragraph)):
        number = find_number(text, span.start, span.end)
        rest = text[number.end : span.end] if number is not None else ""
        if (
            isinstance(number, Number)
            and len(rest) <= _LONGEST_UNITS
            and "=" not in rest
            and not rest.rstrip().endswith(":")
            and rest[:1] not in (".", ")")
        ):
            return number
    return None


def _last_number(text: str, region: Span) -> _Read:
    for window in _WINDOWS:
        start = max(region.start, region.end - window)
        numbers = deque(numbers_in(text, start, region.end), maxlen=1)
        # one at the window's edge might be the rest of a longer one
        if numbers and (start == region.start or numbers[0].start > start + _EDGE):
            return None if numbers[0].start < _stated_in_words(text, region) else numbers[0]
    return None


def _stated_in_words(text: str, region: Span) -> int:
    """Where the last statement of an answer ends that has no digits, so that numbers before it are not the answer."""
    for marker in (_STATEMENT, _LABEL):
        for match in last_matches(marker, text, region)[:1]:
            line = line_after(text, match.end(), region.end)
            said = text[line.start : line.end]
            if said.strip() and not any(sign.isdigit() for sign in said) and not _SAYS_LITTLE.match(said):
                return line.end
    return 0


def _last(text: str, region: Span, marker: re.Pattern[str], read: Callable[[str, Span], _Read]) -> _Read:
    """The number at the last marker that one is stated at."""
    for match in last_matches(marker, text, region):
        found = read(text, line_after(text, match.end(), region.end))
        if found is not None:
            return found
    return None


def _short(text: str, line: Span) -> _Read:
    """A number that stands at once at the line's beginning, with nothing but units after it."""
    number = find_number(text, line.start, line.end)
    if not isinstance(number, Number):
        return number
    rest = text[number.end : line.end].strip(" \t.*_$)}]`\\")
    return number if len(rest) <= _LONGEST_UNITS and not any(sign in rest for sign in "0123456789=") else None


def _stated(text: str, line: Span) -> _Read:
    """The number that a sentence states: at once, behind its last equals sign, or the only one there is."""
    sentence = sentence_of(text, line)
    equals = [match.end() for match in _EQUALS.finditer(text, sentence.start, sentence.end)]
    if equals:
        several = _ASSIGNED_TOO.search(text, sentence.start, sentence.end)
        found = find_number(text, equals[-1], line.end)
        return Unread(equals[-1], sentence.end) if several or found is None else found
    found = find_number(text, sentence.start, line.end)
    if found is not None and found.start < sentence.end:
        return found
    numbers = list(numbers_in(text, sentence.start, sentence.end, line.end))
    stated = [one for one in numbers if not (isinstance(one, Unread) and one.denied)]
    if len(stated) == 1 and not used_otherwise(text, stated[0].start):
        return stated[0]
    if len(stated) == 1:
        return None
    return Unread(numbers[0].start, sentence.end) if numbers else None


def _in_spans(text: str, spans: list[Span]) -> _Read:
    """The number of the last box or tag that holds one; of two that belong together, none."""
    for place, span in reversed(list(enumerate(spans))):
        number = _stated(text, span)
        if number is None:
            continue
        before = text[spans[place - 1].end : span.start] if place else ""
        after = Span(span.end + 1, min(len(text), span.end + 1 + _EDGE))
        if _AND_ANOTHER.fullmatch(before) or (isinstance(number, Number) and goes_on(text, after.start, after.end)):
            return Unread(span.start, span.end)
        return number
    return None


_FORMULA = re.compile(r"\$\$?([^$\n]{1,400})\$|\\\((.{1,400}?)\\\)|\\\[(.{1,400}?)\\\]", re.DOTALL)
_LONGEST_TEXT = 400


def _words(text: str, span: Span) -> _Read:
    """The span's words without markup around them."""
    start, end = span.start, min(span.end, span.start + _LONGEST_TEXT)
    if span.end > end:
        return None
    while start < end and (text[start].isspace() or text[start] in "*_`$:"):
        start += 1
    while start < end and (text[end - 1].isspace() or text[end - 1] in "*_`$.,;"):
        end -= 1
    return Number(text[start:end], start, end) if start < end else None


def _words_hash(text: str, region: Span) -> _Read:
    for match in islice(_HASH.finditer(text, region.start, region.end), _MOST_HASHES):
        found = _words(text, line_after(text, match.end(), region.end))
        if found is not None:
            return found
    return None


def _words_boxed(text: str, region: Span) -> _Read:
    spans = boxed_spans(text, region)
    return _words(text, spans[-1]) if spans else None


def _words_tag(text: str, region: Span) -> _Read:
    spans = tag_spans(text, region)
    return _words(text, spans[-1]) if spans else None


def _words_statement(text: str, region: Span) -> _Read:
    found = [_last(text, region, marker, _words_of_sentence) for marker in (_STATEMENT, _LABEL)]
    return max((one for one in found if one is not None), key=lambda one: one.start, default=None)


def _words_of_sentence(text: str, line: Span) -> _Read:
    return _words(text, sentence_of(text, line))


def _formula(text: str, region: Span) -> _Read:
    paragraph, found = last_paragraph(text, region), None
    for match in _FORMULA.finditer(text, paragraph.start, paragraph.end):
        group = match.lastindex or 1
        found = _words(text, Span(*match.span(group))) or found
    return found


def _whole(text: str, region: Span) -> _Read:
    return None if "\n" in text[region.start : region.end].strip() else _words(text, region)


def _everything(text: str, region: Span) -> _Read:
    said = text[region.start : region.end]
    start = region.start + len(said) - len(said.lstrip())
    return Number(said.strip(), start, start + len(said.strip())) if said.strip() else None


_RULES: dict[AnswerType, tuple[tuple[str, Callable[[str, Span], _Read]], ...]] = {
    "number": (
        ("hash", _number_hash),
        ("a_line", _number_a_line),
        ("boxed", _number_boxed),
        ("tag", _number_tag),
        ("statement", _number_statement),
        ("bold", _number_bold),
        ("last_number", _last_number),
    ),
    "expression": (
        ("boxed", _words_boxed),
        ("tag", _words_tag),
        ("hash", _words_hash),
        ("statement", _words_statement),
        ("formula", _formula),
    ),
    "text": (
        ("hash", _words_hash),
        ("boxed", _words_boxed),
        ("tag", _words_tag),
        ("statement", _words_statement),
        ("whole", _whole),
    ),
    "open": (("everything", _everything),),
}
