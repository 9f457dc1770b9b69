"""Reading a judge's verdict, from the end of its own output only.

With a code, a verdict is a last line that holds nothing but `[[CODE: A]]` (or a grade). Without one, for judges that
cannot repeat a code and for recorded judgements:

choice: the whole output is `A`; the whole output is JSON that names one; the last line ends in `[[A]]`, as MT-Bench's
    judges write, or is `Verdict: A`. `C` is a tie.
rating: the whole output is a number; JSON with `rating` or `score`; the last line ends in `[[7]]`, or is `Rating: 7`,
    perhaps with `/10`.

A verdict anywhere else (quoted, in the middle, two that differ on the last line) is none. What stands before a closed
`</think>` is not output.
"""

from __future__ import annotations

import json
import re
from typing import Any, Literal

Choice = Literal["A", "B", "tie"]

_CHOICES: dict[str, Choice] = {"a": "A", "b": "B", "c": "tie", "tie": "tie", "response a": "A", "response b": "B"}
_CHOICE_KEYS = ("verdict", "winner", "choice", "better", "preference")
_RATING_KEYS = ("rating", "score", "grade")
_MARKUP = " \t*_`\"'.()"
_LONGEST_LINE = 200
_LONGEST_JSON = 20_000
_BRACKETS = re.compile(r"\[\[([^\[\]\n]{1,40})\]\]")
_NAMED = re.compile(
    r"(?:(?:final|my|the)\s)?(?:verdict|rating|score|grade|choice|winner|answer)\s?(?:is)?\s?[:=]?\s?(.{1,40})",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"(\d{1,4}(?:\.\d{1,4})?)(?:\s?/\s?\d{1,4})?")
_JSON_FENCE = re.compile(r"```(?:json)?\n(.*)\n```", re.DOTALL)


def read_choice(output: str, code: str | None = None) -> Choice | None:
    """Which response the judge chose, or None where its output does not end in a verdict.

    Args:
        output: All that the judge wrote.
        code: The call's code, which the verdict must repeat; None for plain verdicts.
    """
    word = _coded(output, code) if code is not None else _plain(output, _CHOICE_KEYS)
    return _CHOICES.get(word.strip(_MARKUP).lower()) if word is not None else None


def read_rating(output: str, code: str | None = None, *, low: float, high: float) -> float | None:
    """The grade that the judge gave, or None where its output does not end in one between `low` and `high`."""
    word = _coded(output, code) if code is not None else _plain(output, _RATING_KEYS)
    match = _NUMBER.fullmatch(word.strip(_MARKUP)) if word is not None else None
    grade = float(match[1]) if match else None
    return grade if grade is not None and low <= grade <= high else None


def _coded(output: str, code: str) -> str | None:
    line = _last_line(output)
    match = re.fullmatch(rf"\[\[{re.escape(code)}\s?:\s?([^\[\]]{{1,40}})\]\]", line) if line else None
    return match[1] if match else None


def _plain(output: str, keys: tuple[str, ...]) -> str | None:
    text = _said(output)
    if text is None:
        return None
    value, line = _json_value(text, keys), _last_line(output)
    if value is not None or line is None:
        return value
    bracketed = _BRACKETS.findall(line)
    if bracketed:
        return bracketed[0] if len(set(bracketed)) == 1 and line.endswith("]]") else None
    named = _NAMED.fullmatch(line.strip(_MARKUP))
    if named:
        return named[1]
    return text if "\n" not in text else None


def _json_value(text: str, keys: tuple[str, ...]) -> str | None:
    fence = _JSON_FENCE.fullmatch(text)
    text = fence[1] if fence else text
    if not text.startswith("{") or len(text) > _LONGEST_JSON:
        return None
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    found = {str(value[key]) for key in keys if key in value} if isinstance(value, dict) else set()
    return found.pop() if len(found) == 1 else None


def _said(output: str) -> str | None:
    """What the judge says after thinking; None where it never stopped thinking."""
    _, closed, after = output.rpartition("</think>")
    if not closed and "<think>" in output:
        return None
    return after.strip() or None


def _last_line(output: str) -> str | None:
    text = _said(output)
    line = text.rsplit("\n", 1)[-1].strip(" \t*_`") if text else ""
    return line if 0 < len(line) <= _LONGEST_LINE else None
