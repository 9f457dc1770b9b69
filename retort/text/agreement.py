"""Read, then compare: what a response states, and whether that is a given answer.

The vote's labels, rewards, fine-tuning examples and benchmarks all ask this one question, here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from retort.config.data import AnswerType
from retort.text.equal import same_answer
from retort.text.extract import Answer, read_answer


@dataclass(frozen=True)
class Stated:
    """What a response states as its answer."""

    answer: Answer | None
    """None where it states none."""
    kind: AnswerType

    @property
    def value(self) -> str | None:
        """The answer alone."""
        return None if self.answer is None else self.answer.value

    def agrees(self, wanted: str) -> bool:
        """Whether it is `wanted`, by value; what states nothing agrees with nothing."""
        return self.answer is not None and same_answer(self.answer.value, wanted, self.kind)


def stated(response: str, kind: AnswerType, options: Sequence[str] = ()) -> Stated:
    """Read a response once, to compare it with any number of answers.

    Args:
        response: The whole response.
        kind: Kind of answer to look for.
        options: Texts of the options of a multiple-choice question, where they are known.
    """
    return Stated(read_answer(response, kind, options), kind)
