"""Finding the parts of a response that rules look at: the region that answers, paragraphs, boxes, bold, tags."""

from __future__ import annotations

import re
from collections import deque
from typing import NamedTuple

_FURTHER_QUESTION = re.compile(
    r"Question(?: \d{1,4})?:|^[ \t*#]{0,6}(?:Q|Problem|Exercise|Instruction|User|Human|Input)(?: \d{1,4})?[*]{0,2}:|"
    r"^[ \t*#]{0,6}(?:The following (?:are|is a) multiple[- ]choice)\b|Answer: Let's think step by step|"
    r"\n[ \t]{0,4}\n\s{1,40}+(?=[\u4e00-\u9fff])|###? ?(?:Instruction|Question|Problem)s?\b|\[/?INST\]|"
    r"<(?:start|end)_of_turn>|"
    r"<\|(?:im_end|im_start|eot_id|endoftext|start_header_id|end_of_text|user|end)\|>|</s>",
    re.MULTILINE,
)
_BOXED = re.compile(r"\\(?:boxed|fbox)[ \t]{0,3}\{")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_BOLD = re.compile(r"\*\*([^*\n]{1,300})\*\*|__([^_\n]{1,300})__")
_TAG_START = re.compile(r"<answer>")
_SENTENCE_END = re.compile(r"[.!?](?=[\s*_\"'”)]|$)|[;\n]")
_CANDIDATES = 16
_LONGEST_BOX = 2000
_LONGEST_LINE = 500
_LONGEST_PARAGRAPH = 4000


class Span(NamedTuple):
    """A part `text[start:end]` of a text."""

    start: int
    end: int


def narrow(text: str) -> Span:
    """The part of a response that answers its question.

    Thoughts before `</think>` are left out; thoughts that never end leave nothing. A base model that runs on into
    another question ends where that begins, unless nothing but markup stands before it.
    """
    start = text.rfind("</think>")
    if start >= 0:
        start += len("</think>")
    elif "<think>" in text:
        return Span(len(text), len(text))
    else:
        start = 0
    for match in _FURTHER_QUESTION.finditer(text, start):
        if text[start : match.start()].strip(" \t\r\n*#_-"):
            return Span(start, match.start())
        start = match.end()
    return Span(start, len(text))


def line_after(text: str, start: int, end: int) -> Span:
    """What is left of the line at `start`, or the next line that is not blank; at most 500 characters of it."""
    while start < end and text[start] in " \t\r\n*_`":
        start += 1
    end = min(end, start + _LONGEST_LINE)
    stop = text.find("\n", start, end)
    return Span(start, end if stop < 0 else stop)


def sentence_of(text: str, span: Span) -> Span:
    """The first sentence of a span: up to a full stop before white space, or a semicolon."""
    for match in _SENTENCE_END.finditer(text, span.start, span.end):
        if match.start() > span.start:
            return Span(span.start, match.start())
    return span


def last_paragraph(text: str, region: Span) -> Span:
    """The region's last paragraph: what follows its last blank line; at most its last 4000 characters."""
    end = region.end
    while end > region.start and text[end - 1].isspace():
        end -= 1
    start = max(region.start, end - _LONGEST_PARAGRAPH)
    start = max(start, text.rfind("\n\n", start, end))
    return Span(start, end)


def boxed_spans(text: str, region: Span) -> list[Span]:
    r"""Contents of the last `\boxed{...}` with balanced braces, in order; only the last 16 are looked at."""
    if "\\boxed" not in text and "\\fbox" not in text:
        return []
    spans = []
    for start in (match.end() for match in reversed(last_matches(_BOXED, text, region))):
        depth = 1
        for match in _BRACE.finditer(text, start, min(region.end, start + _LONGEST_BOX)):
            depth += {"{": 1, "}": -1}.get(match.group(), 0)
            if depth == 0:
                spans.append(Span(start, match.start()))
                break
    return spans


def last_matches(pattern: re.Pattern[str], text: str, region: Span) -> list[re.Match[str]]:
    """The last 16 matches in a region, the last one first: what bounds the time that markers without answers take."""
    return list(reversed(deque(pattern.finditer(text, region.start, region.end), maxlen=_CANDIDATES)))


def bold_spans(text: str, region: Span) -> list[Span]:
    """Contents of bold text, in order."""
    return [Span(*match.span(match.lastindex or 1)) for match in _BOLD.finditer(text, region.start, region.end)]


def tag_spans(text: str, region: Span) -> list[Span]:
    """Contents of `<answer>` elements, in order; one that is cut off ends where the text does."""
    if "<answer>" not in text:
        return []
    spans = []
    for opening in reversed(last_matches(_TAG_START, text, region)):
        end = min(region.end, opening.end() + _LONGEST_BOX)
        stop = text.find("</answer>", opening.end(), end)
        spans.append(Span(opening.end(), end if stop < 0 else stop))
    return spans
