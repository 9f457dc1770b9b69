"""How a response ended: the one place that says which finish reasons mean that it is whole.

Servers say it in words of their own. What they call the model's own end, or a stop text that was asked for, is `stop`
here; what they call a limit on tokens is `length`; every other reason (a filter, a refusal, a tool call, an error, one
that is not known yet) keeps its name, so that counts can name it, and a reason that is null or empty is `unknown`.
Only `stop` is whole, and `not_recorded`: a file of responses that says of none of them how it ended.

What is not whole did not answer: it has no vote, is no example of a finished response, and trains no student.
"""

from __future__ import annotations

from collections.abc import Iterable

STOP = "stop"
"""The model ended the response, or it reached a stop text."""
LENGTH = "length"
"""Cut off at a limit on tokens."""
UNKNOWN = "unknown"
"""The server gave no reason."""
NOT_RECORDED = "not_recorded"
"""A recording without finish reasons; taken as whole, and counted."""

_STOPS = {
    "stop",  # OpenAI, vLLM, SGLang, Mistral, DeepSeek, Ollama; Gemini in capitals
    "end_turn",  # Anthropic, Bedrock
    "stop_sequence",  # Anthropic, Bedrock, Cohere, TGI
    "eos_token",  # TGI
    "eos",  # Together, llama.cpp
    "word",  # llama.cpp: a stop text
    "complete",  # Cohere
    "completed",  # OpenAI's responses
    "finish",  # Titan
    "endoftext",  # AI21
}
_LENGTHS = {
    "length",
    "max_tokens",
    "max_length",
    "max_new_tokens",
    "max_output_tokens",
    "model_length",
    "limit",
    "model_context_window_exceeded",
}


def finish_reason(said: object) -> str:
    """The name under which a server's finish reason is kept: `stop`, `length`, `unknown`, or the reason itself."""
    if not isinstance(said, str) or not said.strip():
        return UNKNOWN if said is None or isinstance(said, str) else str(said)
    plain = said.strip().lower().replace("-", "_").replace(" ", "_")
    if plain in _STOPS:
        return STOP
    return LENGTH if plain in _LENGTHS else plain


def is_whole(reason: str) -> bool:
    """Whether a response that ended for this reason, as `finish_reason` names it, said all that it had to say."""
    return reason in (STOP, NOT_RECORDED)


def whole_text(response: str, reason: str) -> str:
    """The response where it is whole, else nothing: what was cut off did not answer."""
    return response if is_whole(reason) else ""


def unexpected(reasons: Iterable[str]) -> list[str]:
    """Those of some reasons that are neither an end nor a limit: worth naming to the user."""
    return sorted(set(reasons) - {STOP, LENGTH, NOT_RECORDED})
