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
from retort.text.numbers import Number, find_number, numbers_in
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
        if answer is not None:
            return Answer(answer.value, rule, answer.start, answer.end)
    return None


_Read = Number | None
_HASH = re.compile(r"####(?!#)[ \t]{0,8}")
_A_LINE = re.compile(r"^[ \t*]{0,4}A:[ \t*]{0,8}", re.MULTILINE)
_STATEMENT = re.compile(
    r"\banswer[*_]{0,3}(?: to [^\n.:]{1,80}?)?(?:\s(?:is|was|equals|would be|will be|must be|should be|comes to)\b)"
    r"[ \t]{0,4}:?[*_]{0,3}[ \t]{0,4}",
    re.IGNORECASE,
)
_LABEL = re.compile(
    r"(?:\b(?:final|correct)[ _]answer|^[ \t*#_]{0,8}answer|\banswer)[*_]{0,3}[ \t]{0,4}[:=][*_ \t]{0,8}",
    re.IGNORECASE | re.MULTILINE,
)
_HEADING = re.compile(r"[ \t]{0,2}(?:[.):]+[*_ \t]{0,4}[^\s*_.)]|[^\n]{1,200}:[*_ \t]{0,4}$)", re.MULTILINE)
_OPERATOR = re.compile(
    r"[ \t)}\\]{0,6}(?:[+*/^\u00d7\u00f7\u00b7\u2212-]|x(?=[ \t]?\d)|times\b|cdot\b)[ \t$({\\]{0,6}\d"
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
            number is not None
            and len(rest) <= _LONGEST_UNITS
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
            return numbers[0]
    return None


def _last(text: str, region: Span, marker: re.Pattern[str], read: Callable[[str, Span], _Read]) -> _Read:
    """The number at the last marker that one can be read at."""
    for match in last_matches(marker, text, region):
        found = read(text, line_after(text, match.end(), region.end))
        if found is not None:
            return found
    return None


def _short(text: str, line: Span) -> _Read:
    """A number that stands at once at the line's beginning, with nothing but units after it."""
    number = find_number(text, line.start, line.end)
    if number is None:
        return None
    rest = text[number.end : line.end].strip(" \t.*_$)}]`\\")
    return number if len(rest) <= _LONGEST_UNITS and not any(sign in rest for sign in "0123456789=") else None


def _stated(text: str, line: Span) -> _Read:
    """The number that a sentence states: at once, behind its last equals sign, or the only one there is."""
    sentence = sentence_of(text, line)
    equals = [match.end() for match in _EQUALS.finditer(text, sentence.start, sentence.end)]
    if equals:
        return find_number(text, equals[-1], sentence.end)
    number = find_number(text, sentence.start, sentence.end)
    if number is not None:
        return None if _OPERATOR.match(text, number.end, sentence.end) else number
    only = list(numbers_in(text, sentence.start, sentence.end))
    return only[0] if len(only) == 1 else None


def _in_spans(text: str, spans: list[Span]) -> _Read:
    for span in reversed(spans):
        number = _stated(text, span)
        if number is not None:
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
