"""Why Retort's reading of a response and the benchmark's published rule come to different verdicts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from retort.config.data import AnswerType
from retort.text.equal import same_answer
from retort.text.extract import Answer

Difference = Literal[
    "official_reads_nothing", "official_reads_otherwise", "official_compares_text", "reads_nothing", "reads_otherwise"
]
"""Kinds of differences, by what the side that finds the response wrong does.

- `official_reads_nothing`: the published rule finds no answer where we read the right one.
- `official_reads_otherwise`: it takes another part of the response, such as the first of several statements.
- `official_compares_text`: it reads the same value, and finds it wrong because it is written otherwise.
- `reads_nothing`, `reads_otherwise`: the same of our reading, where the published rule is right.
"""


@dataclass(frozen=True)
class RowScore:
    """Both verdicts on one response."""

    row: int
    """Row of the file, counted from 1; JSON lines: the line."""
    question: str
    model: str
    gold: str
    answer: str | None
    """As Retort reads it."""
    rule: str | None
    """Extraction rule that read it."""
    start: int | None
    end: int | None
    """`response[start:end]` is what stated it."""
    right: bool
    official_answer: str | None
    """As the published rule reads it."""
    official: dict[str, bool]
    """Verdict of each published rule."""
    label: bool | None
    """Verdict that the file carries."""
    difference: Difference | None
    """Why our verdict and the published one differ; None where they do not."""


def difference(
    answer: Answer | None, right: bool, official_answer: str | None, official_right: bool, kind: AnswerType
) -> Difference | None:
    """The kind of difference between two verdicts, or None where they agree."""
    if right == official_right:
        return None
    if not right:
        return "reads_nothing" if answer is None else "reads_otherwise"
    if not official_answer:
        return "official_reads_nothing"
    assert answer is not None, "what is right has been read"
    same = same_answer(answer.value, official_answer, kind)
    return "official_compares_text" if same else "official_reads_otherwise"
