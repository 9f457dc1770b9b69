"""What a server's refusal of a request means: a field it does not know, a policy, a prompt that is too long.

Servers agree on no error codes. What is read here is the words that OpenAI, Azure, Anthropic, Mistral, vLLM, SGLang,
TGI, llama.cpp, DeepSeek, DashScope and gateways before them use; whatever is not recognised stays the error that it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from typing import Any

LIMIT_FIELDS = ("max_tokens", "max_completion_tokens")
"""The two names of the limit on tokens: OpenAI's newer models know only the second, other servers only the first."""

OPTIONAL = ("seed", "top_p", "logprobs", "stop", "temperature")
"""Fields that a server may be asked without, in the order in which they are given up."""

_NO = re.compile(
    r"unsupported|not (be )?support|n't support|unknown|unrecogni[sz]ed|unexpected|invalid|not permitted|not allowed|"
    r"forbidden|extra|cannot|can not|can't|must|only|deprecated|mutually exclusive|not (be )?accept|n't accept|"
    r"not available|incompatible|should be|not (be )?(implement|enabled|recogni[sz]ed|a recogni[sz]ed|valid)|fixed at",
    re.IGNORECASE,
)
_RANGE = re.compile(
    r"less than|greater than|between|at most|at least|range|maximum|minimum|[<>]=? ?\d|exceed|positive|"
    r"[\[(] ?\d+(\.\d+)? ?[,;] ?\d+(\.\d+)? ?[\])]"
)
_POLICY = re.compile(
    r"content.?filter|content.?policy|content management policy|responsible.?ai|usage (polic|guideline)|acceptable use|"
    r"moderat(ion|ed)|flagged|inappropriate|data_?inspection|content exists risk|high risk|prohibited|safety|"
    r"unsafe.(content|prompt|input|text)|sensitive|harmful|violat\w* .{0,40}polic|"
    r"blocked (by|due to) .{0,40}(polic|filter|guardrail|pii)|guardrail|prompt_?feedback|prompt_filter|"
    r"敏感|不安全|违规|違規",
    re.IGNORECASE,
)
_NO_POLICY = re.compile(
    r"safety_(identifier|settings?)|data policy|privacy|\b(account|organi[sz]ation|project|api key)\b.{0,60}"
    r"(flagged|suspend|disabled|violat|terminated|banned)|(temporarily|is|service) unavailable|"
    r"(invalid|unsupported|unknown) (value|parameter|field|header|setting|content.?filter|moderation)|sensitive header",
    re.IGNORECASE | re.DOTALL,
)
"""Words that look like a content policy's and are about the account, a field or the filter itself."""
_TOO_LONG = re.compile(
    r"context.{0,12}(length|window|size)|too long|too large|too many (input )?tokens|(token|length|input) limit|"
    r"max\w*[ _](input|prompt|model|seq\w*|total)[ _]?(length|len|tokens)|maximum (number of )?(input )?tokens|"
    r"input length should be|reduce (the length|your prompt|your input)|exceeds? .{0,60}(tokens|length)|"
    r"tokens? .{0,40}(exceed|<=)",
    re.IGNORECASE | re.DOTALL,
)
_ECHOES = ("input", "ctx", "messages", "prompt", "content", "request", "body_sent")
"""Keys of an error's parts that repeat what was asked: its words are not the server's."""

FIELD_STATUSES = (400, 422, 501)
"""Statuses with which a server refuses a field."""
TOO_LONG_STATUSES = (400, 413, 422)
"""Statuses with which a server refuses a prompt for its length."""
POLICY_STATUSES = (400, 403, 421, 422, 451)
"""Statuses with which a policy refuses a prompt."""


def refused_field(said: str, sent: Collection[str]) -> str | None:
    """The field of a request that a server refuses and can be asked without; None where it refuses something else.

    Args:
        said: The body of its answer.
        sent: Fields that the request had.

    Returns:
        One of `OPTIONAL`, or the limit's field where the server wants its other name.
    """
    said, named = _words(said), _named(said)
    limit, other = LIMIT_FIELDS if LIMIT_FIELDS[0] in sent else LIMIT_FIELDS[::-1]
    wants_other = re.search(rf"instead|unsupported|unknown|not support|{limit}\b", said) and "both" not in said
    if limit in sent and other in said and wants_other and not _TOO_LONG.search(said):
        return limit
    if not _NO.search(said) or (named in sent and named not in OPTIONAL):
        return None
    for field in OPTIONAL:
        if field not in sent:
            continue
        # `stop` is a word of the language: it must be named as a field.
        plain = field != "stop" and re.search(rf"\b{field}\b", said, re.IGNORECASE) is not None
        if named == field or (named not in sent and (plain or re.search(rf"[\"'`]{field}[\"'`]", said))):
            if field == "temperature" and _RANGE.search(said) and "default" not in said:
                return None  # out of the server's range: asking without it would draw from another distribution
            return field
    return None


def named_among(said: str, fields: Collection[str]) -> str | None:
    """The one of `fields` that a refusal names, in quotes or as its parameter; None where it names none."""
    words, named = _words(said), _named(said)
    quoted = (one for one in fields if re.search(rf"[\"'`]{re.escape(one)}[\"'`]", words))
    return named if named in fields else next(quoted, None)


def is_too_long(said: str, status: int) -> bool:
    """Whether a server refuses a prompt for its length, alone or with the limit on the response's."""
    of_a_field = _named(said) in (*OPTIONAL, *LIMIT_FIELDS)
    return status in TOO_LONG_STATUSES and not of_a_field and _TOO_LONG.search(_words(said)) is not None


def is_policy(said: str, status: int) -> bool:
    """Whether a server refuses the content of a prompt, by a policy of its own."""
    words = _words(said)
    page = words.lstrip().lower().startswith(("<html", "<!doctype"))  # a gateway's, which knows no prompt
    return status in POLICY_STATUSES and not page and bool(_POLICY.search(words)) and not _NO_POLICY.search(words)


def _words(said: str) -> str:
    """The words of an error, out of its JSON and without what it repeats of the request."""
    value = _parsed(said)
    return said if value is None else " ".join(_strings(value))


def _parsed(said: str) -> Any:
    """The JSON that an error is, or ends in; None where there is none."""
    start = min((place for mark in "{[" if (place := said.find(mark)) >= 0), default=-1)
    for text in (said, said[start:] if start > 0 else ""):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict | list):
            return value
    return None


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, one in value.items():
            if key not in _ECHOES:
                yield f"{key}:"
                yield from _strings(one)
    elif isinstance(value, list):
        for one in value:
            yield from _strings(one)
    elif isinstance(value, str):
        inner = _parsed(value) if value[:1] in "{[" else None  # a gateway quotes the error of the server behind it
        if inner is not None:
            yield from _strings(inner)
        else:
            yield value if " " in value else f'"{value}"'


def _named(said: str) -> str | None:
    """The field that the error names apart from its words: OpenAI's `param`, the last of pydantic's `loc`."""
    value = _parsed(said)
    if isinstance(value, list):
        value = value[0] if value else None
    error = value.get("error", value) if isinstance(value, dict) else None
    if isinstance(error, dict) and isinstance(error.get("message"), dict):  # Mistral's
        error = error["message"]
    if not isinstance(error, dict):
        return None
    named = error.get("param")
    details = error.get("detail") or error.get("details") or error.get("errors")
    first = details[0] if isinstance(details, list) and details else None
    if not isinstance(named, str) and isinstance(first, dict):
        place = first.get("loc")
        named = place[1] if isinstance(place, list) and len(place) > 1 and place[0] == "body" else first.get("field")
        named = place[-1] if named is None and isinstance(place, list) and place else named
    return re.split(r"[.\[]", named)[0] if isinstance(named, str) and named else None
