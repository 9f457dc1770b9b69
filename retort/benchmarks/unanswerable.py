"""Reading that a response calls a question unanswerable, as GSM-Plus' "critical thinking" questions are."""

from __future__ import annotations

import re

from retort.text.extract import Answer
from retort.text.spans import narrow

_NONE = re.compile(
    r"(?:####|\banswer\s?(?:is|:)|^A:)[\s*_$:(\\{]{0,8}(?:text\{)?"
    r"(?:none|not (?:given|provided|enough|known|possible|determinable)|unknown|undetermined|indeterminate|"
    r"insufficient|cannot|can't|impossible|unanswerable)\b",
    re.IGNORECASE | re.MULTILINE,
)
_SAYS = re.compile(
    r"\b(?:(?:can(?:\s?no|')t|impossible to|not possible to|unable to)\s(?:be\s)?(?:determine|calculate|answer|find|"
    r"solve|provide|say|know|tell|compute)d?|(?:not|isn't|n't (?:have|provide|give)|without) (?:enough|sufficient)|"
    r"insufficient (?:information|data)|(?:does|do|did)(?: not|n't) (?:specify|provide|mention|state|give|tell|say)|"
    r"(?:is|are|was|were)(?: not|n't) (?:specified|provided|mentioned|stated|given)|"
    r"missing (?:necessary )?(?:information|data)|(?:do not|don't) know)",
    re.IGNORECASE,
)
_EXPLICIT = {"hash", "a_line", "boxed", "tag", "statement"}


def says_unanswerable(response: str, answer: Answer | None) -> Answer | None:
    """What says that the question cannot be answered, or None where the response does not say so.

    Args:
        response: The whole response.
        answer: The number that was read from it, if any. A number that is marked as the answer stands against
            words about what is missing; one that merely comes last does not.
    """
    region = narrow(response)
    stated = _NONE.search(response, region.start, region.end)
    if stated:
        return Answer("None", "none_stated", *stated.span())
    if answer is not None and answer.rule in _EXPLICIT:
        return None
    said = _SAYS.search(response, region.start, region.end)
    return Answer("None", "none_said", *said.span()) if said else None
