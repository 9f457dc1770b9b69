"""Reading what an OpenAI-compatible server answers: every value is checked, for it is paid for once and kept for good.

Servers and the gateways before them answer 200 with things that are no completion: the error of another server, a page
of HTML, half of the JSON. Those are told apart here, with the status that they stand for, so that they are tried again
as a 429 or 5xx would be. What is a completion is read into plain values that every table can hold.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from retort.text.finish_reasons import LENGTH, STOP, finish_reason

REFUSAL = "refusal"
"""Finish reason of a text with which the model itself declined, in the field that OpenAI has for it."""

_MOST_TOKENS = 2**31 - 1
"""Largest number of tokens that a table holds."""

_SHOWN = 300
"""Characters of a strange answer that a message shows."""

_REASONING = ("reasoning_content", "reasoning", "reasoning_details", "thinking", "thoughts")
"""Fields of a message that servers put its reasoning in: DeepSeek and vLLM, OpenRouter, Ollama."""
_TEXTS = ("text", "thinking", "reasoning", "content", "summary")
"""Fields of a part that hold its text."""
_TEXTLESS = ("refusal", "image_url", "image", "audio", "input_audio", "tool_use", "tool_call", "function_call")
"""Kinds of parts that say nothing in words."""

_STATUS_OF = {
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "too_many_requests": 429,
    "insufficient_quota": 402,
    "invalid_api_key": 401,
    "authentication_error": 401,
    "permission_error": 403,
    "model_not_found": 404,
    "not_found_error": 404,
    "invalid_request_error": 400,
    "context_length_exceeded": 400,
    "content_filter": 400,
    "content_policy_violation": 400,
    "overloaded_error": 529,
}
"""Status that an error in a body stands for, where it gives a word and no number."""


@dataclass(frozen=True)
class Completion:
    """One completion, as a table can hold it."""

    text: str
    """What was said, without the reasoning."""
    reasoning: str | None
    """The reasoning between the model's tags and the white space after it: before `text` it makes the whole; None
    where there is none."""
    finish_reason: str
    """As `retort.text.finish_reasons` names it."""
    prompt_tokens: int
    """0 where the server does not say."""
    response_tokens: int
    """Reasoning included; 0 where the server does not say."""
    logprobs: tuple[float, ...]
    """Natural log-probability of each token; empty where they are not given, or one of them is no number."""
    repaired: bool
    """Whether half surrogate pairs were replaced: no file can hold them."""


class NoCompletionError(Exception):
    """An answer that is no completion."""

    def __init__(self, problem: str, *, status: int = 502) -> None:
        """Say what it is.

        Args:
            problem: In words, for a message.
            status: The HTTP status that it stands for; 502 where it does not say.
        """
        self.problem, self.status = problem, status
        super().__init__(problem)


def read_completion(body: bytes, tags: tuple[str, str]) -> Completion:
    """The first choice of a chat completion, a plain completion or a response of the Responses interface.

    Args:
        body: What the server answered with status 200.
        tags: What the model puts around its reasoning.

    Raises:
        NoCompletionError: it is none.
    """
    shown = body[:_SHOWN].decode("utf-8", "replace").strip()
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        if body.lstrip()[:5].lower() in (b"data:", b"event"):
            raise NoCompletionError(f"a stream, which was not asked for: {shown}") from None
        raise NoCompletionError(f"no JSON: {shown or 'nothing at all'}") from None
    try:
        return completion_of(value, tags)
    except RecursionError:
        raise NoCompletionError(f"nested too deeply: {shown}") from None


def completion_of(value: Any, tags: tuple[str, str]) -> Completion:
    """As `read_completion`, from the decoded JSON.

    Raises:
        NoCompletionError: it is no completion.
    """
    shown = json.dumps(value, default=str)[:_SHOWN]
    if not isinstance(value, dict):
        raise NoCompletionError(f"no completion: {shown}")
    _refuse_errors(value, shown)
    if isinstance(value.get("output"), list):
        return _read_output(value, tags, shown)
    choices = value.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise NoCompletionError(f"a completion without choices: {shown}", status=_status_without_choices(value))
    # One was asked for; of several, in whatever order, the first is the one.
    choice = next((one for one in choices if isinstance(one, dict) and one.get("index") == 0), choices[0])
    _refuse_errors(choice, shown)
    reason = finish_reason(choice.get("finish_reason"))
    if isinstance(choice.get("text"), str):
        return _completion(choice["text"], None, reason, value.get("usage"), choice.get("logprobs"), tags)
    message = choice.get("message")
    if not isinstance(message, dict):
        # A filter that took the message away says so; anything else without one is broken.
        if reason in (STOP, LENGTH, "unknown"):
            raise NoCompletionError(f"a choice without a message: {shown}")
        message = {}
    text, reasoning = _contents(message.get("content"), shown)
    for field in _REASONING:
        if isinstance(message.get(field), str | list | dict) and (thought := _thoughts(message[field], shown)):
            reasoning = thought
            break
    refused = message.get("refusal") or _refusal_of(message.get("content"))
    if not text and isinstance(refused, str) and refused:
        text, reason = refused, REFUSAL
    return _completion(text, reasoning, reason, value.get("usage"), choice.get("logprobs"), tags)


def whole_unicode(text: str) -> str:
    """`text` with half surrogate pairs replaced by U+FFFD, and pairs that were spelt as two halves joined."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def count_of(value: Any) -> int:
    """A number of tokens; 0, which says not known, for anything that is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return 0
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return 0
    return int(number) if math.isfinite(number) and 0 <= number <= _MOST_TOKENS and number == int(number) else 0


def status_of(code: Any) -> int | None:
    """The HTTP status that an error's code stands for, a number or a word; None where it says nothing."""
    if isinstance(code, bool):
        return None
    if isinstance(code, int) or (isinstance(code, str) and code.strip().isdecimal()):
        number = int(code)
        return number if 400 <= number < 600 else None
    return _STATUS_OF.get(code.strip().lower()) if isinstance(code, str) else None


def _refuse_errors(value: dict[str, Any], shown: str) -> None:
    """Refuse a body, or a choice, that holds an error instead."""
    error = value.get("error")
    if not error and value.get("object") == "error":  # vLLM and SGLang
        error = value
    if not error and isinstance(value.get("detail"), str | list | dict) and "choices" not in value:  # FastAPI
        error = {"message": value["detail"]}
    if not error:
        return
    codes = [error.get(key) for key in ("status", "code", "type")] if isinstance(error, dict) else []
    statuses = [status for code in [*codes, value.get("status_code")] if (status := status_of(code)) is not None]
    raise NoCompletionError(f"an error in place of a completion: {shown}", status=statuses[0] if statuses else 502)


def _status_without_choices(value: dict[str, Any]) -> int:
    """400 where a filter took the choices away: the message then names it, and it is no trouble that passes."""
    filtered = any(key in value for key in ("prompt_filter_results", "promptFeedback", "prompt_feedback"))
    return 400 if filtered else 502


def _contents(content: Any, shown: str) -> tuple[str, str | None]:
    """Text and reasoning of a message's content, which may be a list of parts."""
    if content is None:
        return "", None
    if isinstance(content, str):
        return content, None
    texts: list[str] = []
    thoughts: list[str] = []
    for part in content if isinstance(content, list) else [content]:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict):
            kind = str(part.get("type", "text"))
            if kind not in _TEXTLESS and not part.keys() & {*_TEXTS, "type"}:
                raise NoCompletionError(f"content that is no text: {shown}")
            thinks = kind.startswith(("thinking", "reasoning", "summary_text", "redacted_thinking"))
            found = next((part[key] for key in _TEXTS if part.get(key)), "")
            (thoughts if thinks else texts).append(found if isinstance(found, str) else _contents(found, shown)[0])
        else:
            raise NoCompletionError(f"content that is no text: {shown}")
    return "".join(texts), "\n".join(one for one in thoughts if one) or None


def _refusal_of(content: Any) -> Any:
    """What the model declined with, where that is a part of a message's content."""
    parts = content if isinstance(content, list) else []
    refused = [one for one in parts if isinstance(one, dict) and one.get("type") == "refusal"]
    return refused[0].get("refusal") if refused else None


def _read_output(value: dict[str, Any], tags: tuple[str, str], shown: str) -> Completion:
    """A response of the Responses interface."""
    texts: list[str] = []
    thoughts: list[str] = []
    reason = STOP if value.get("status", "completed") == "completed" else None
    for item in value["output"]:
        if not isinstance(item, dict):
            raise NoCompletionError(f"an output that is no object: {shown}")
        if item.get("type") == "message":
            parts = item.get("content") or []
            if (refused := _refusal_of(parts)) is not None:
                texts.append(str(refused))
                reason = REFUSAL
            else:
                text, thought = _contents(parts, shown)
                texts.append(text)
                thoughts += [thought] if thought else []
        elif item.get("type") == "reasoning":
            thoughts += [thought for key in ("summary", "content") if (thought := _thoughts(item.get(key), shown))]
    if reason is None:
        details = value.get("incomplete_details") or {}
        reason = finish_reason(details.get("reason") if isinstance(details, dict) else None)
        reason = finish_reason(value["status"]) if reason == "unknown" else reason
    return _completion("".join(texts), "\n".join(thoughts) or None, reason, value.get("usage"), None, tags)


def _thoughts(parts: Any, shown: str) -> str | None:
    """What was thought, a text or parts; None where that says nothing in words."""
    try:
        text, thought = _contents(parts, shown)
    except NoCompletionError:
        return None
    return (thought or text).strip() or None


def _completion(
    text: str, reasoning: str | None, reason: str, usage: Any, logprobs: Any, tags: tuple[str, str]
) -> Completion:
    opened, closed = tags
    whole = whole_unicode(text)
    thought = None if reasoning is None else whole_unicode(reasoning)
    repaired = whole != text or thought != reasoning
    if thought is not None:
        kept: str | None = f"{opened}\n{thought.strip()}\n{closed}\n\n"
        if whole.lstrip().startswith(opened):  # some gateways give it twice
            whole = split_reasoning(whole, tags)[1]
    else:
        kept, whole = split_reasoning(whole, tags)
    counts = usage if isinstance(usage, dict) else {}
    return Completion(
        text=whole,
        reasoning=kept,
        finish_reason=reason,
        prompt_tokens=count_of(counts.get("prompt_tokens")) or count_of(counts.get("input_tokens")),
        response_tokens=count_of(counts.get("completion_tokens")) or count_of(counts.get("output_tokens")),
        logprobs=_logprobs(logprobs),
        repaired=repaired,
    )


def split_reasoning(text: str, tags: tuple[str, str]) -> tuple[str | None, str]:
    """A text's reasoning with its tags and the white space after them, and the rest; together they are `text`.

    A model whose template opens the reasoning writes only the closing tag. Reasoning that is never closed was cut off:
    all of the text is reasoning then.
    """
    opened, closed = tags
    before, found, after = text.partition(closed)
    begins = text.lstrip().startswith(opened)
    if not found:
        return (text, "") if begins else (None, text)
    if not begins and opened in before:  # a text that quotes the tags
        return None, text
    rest = after.lstrip()
    return text[: len(text) - len(rest)], rest


def _logprobs(told: Any) -> tuple[float, ...]:
    if not isinstance(told, dict):
        return ()
    if isinstance(told.get("content"), list):
        values = [one.get("logprob") if isinstance(one, dict) else None for one in told["content"]]
    elif isinstance(told.get("token_logprobs"), list):
        values = [one for one in told["token_logprobs"] if one is not None]
    else:
        return ()
    numbers = [number for one in values if (number := _finite(one)) is not None]
    return tuple(numbers) if len(numbers) == len(values) else ()


def _finite(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
