"""What a server's refusal of a request means: a field it does not know, a policy, a prompt that is too long.

Servers agree on no error codes. What is read here is the words that OpenAI, Azure, Anthropic, Mistral, vLLM, SGLang,
TGI, llama.cpp, DeepSeek, DashScope and gateways before them use; whatever is not recognised stays the error that it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any

LIMIT_FIELDS = ("max_tokens", "max_completion_tokens")
"""The two names of the limit on tokens: OpenAI's newer models know only the second, other servers only the first."""

OPTIONAL = ("seed", "top_p", "logprobs", "stop", "temperature")
"""Fields that a server may be asked without, in the order in which they are given up."""

_NO = re.compile(
    r"unsupported|not (be )?support|n't support|unknown|unrecogni[sz]ed|unexpected|invalid|not permitted|not allowed|"
    r"forbidden|extra|cannot|can not|can't|must|only|deprecated|mutually exclusive|not (be )?accept|n't accept|"
    r"not available|incompatible|should be",
    re.IGNORECASE,
)
_RANGE = re.compile(r"less than|greater than|between|at most|at least|range|maximum|minimum|[<>]=? ?\d|exceed|positive")
_POLICY = re.compile(
    r"content.?filter|content.?policy|content management policy|responsible.?ai|usage polic|acceptable use|moderation|"
    r"flagged|inappropriate|data_?inspection|content exists risk|prohibited|safety|unsafe|sensitive|harmful|"
    r"violat\w* .{0,40}polic|blocked by .{0,40}(polic|filter|guardrail)|guardrail|prompt_?feedback|prompt_filter",
    re.IGNORECASE,
)
_NO_POLICY = re.compile(r"safety_(identifier|settings?)|data policy|privacy", re.IGNORECASE)
"""Words that look like a content policy's and are about the account or a field."""

POLICY_STATUSES = (400, 403, 422, 451)
"""Statuses with which a policy refuses a prompt."""


def refused_field(said: str, sent: Collection[str]) -> str | None:
    """The field of a request that a server refuses and can be asked without; None where it refuses something else.

    Args:
        said: The body of its answer.
        sent: Fields that the request had.

    Returns:
        One of `OPTIONAL`, or the limit's field where the server wants its other name.
    """
    limit, other = LIMIT_FIELDS if LIMIT_FIELDS[0] in sent else LIMIT_FIELDS[::-1]
    if limit in sent and other in said and re.search(rf"instead|unsupported|unknown|not support|{limit}\b", said):
        return limit
    if not _NO.search(said):
        return None
    named = _named(said)
    for field in OPTIONAL:
        if field not in sent:
            continue
        # `stop` is a word of the language: it must be named as a field.
        plain = field != "stop" and re.search(rf"\b{field}\b", said) is not None
        if named == field or plain or re.search(rf"[\"'`]{field}[\"'`]", said):
            if field == "temperature" and _RANGE.search(said) and "default" not in said:
                return None  # out of the server's range: asking without it would draw from another distribution
            return field
    return None


def is_policy(said: str, status: int) -> bool:
    """Whether a server refuses the content of a prompt, by a policy of its own."""
    return status in POLICY_STATUSES and _POLICY.search(said) is not None and _NO_POLICY.search(said) is None


def _named(said: str) -> str | None:
    """The field that the error names apart from its words: OpenAI's `param`, the last of pydantic's `loc`."""
    try:
        value: Any = json.loads(said)
    except ValueError:
        return None
    error = value.get("error", value) if isinstance(value, dict) else None
    if not isinstance(error, dict):
        return None
    if isinstance(error.get("param"), str):
        return str(error["param"])
    details = error.get("detail") or error.get("details")
    first = details[0] if isinstance(details, list) and details else None
    place = first.get("loc") if isinstance(first, dict) else None
    return str(place[-1]) if isinstance(place, list) and place else None
