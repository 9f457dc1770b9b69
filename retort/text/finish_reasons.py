"""How a response ended: the one place that says which finish reasons mean that it is whole.

Servers say it in words of their own. What they call the model's own end, or a stop text that was asked for, is `stop`
here; what they call a limit on tokens is `length`; every other reason (a filter, a refusal, a tool call, an error, one
that is not known yet) keeps its name, so that counts can name it, and a reason that is null or empty is `unknown`.
Only `stop` is whole, and `not_recorded`: a file of responses that says of none of them how it ended.

What is not whole did not answer: it has no vote, is no example of a finished response, and trains no student.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

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
    "eos_token",  # TGI, watsonx
    "eos",  # Together, llama.cpp
    "word",  # llama.cpp: a stop text
    "complete",  # Cohere
    "completed",  # OpenAI's responses
    "finish",  # Titan
    "finished",  # Titan
    "stop_criteria_met",  # Titan: a stop text
    "endoftext",  # AI21
    "end_id",  # TensorRT-LLM
    "stop_words",  # TensorRT-LLM
    "eos_found",  # LM Studio
    "stop_string_found",  # LM Studio
    "finished_stopped",  # vLLM's own state of a request
}
_LENGTHS = {
    "length",
    "max_len",
    "max_tokens",
    "max_length",
    "max_new_tokens",
    "max_output_tokens",
    "max_predicted_tokens_reached",
    "model_length",
    "token_limit",
    "limit",
    "max_context",
    "context_length_reached",
    "model_context_window_exceeded",
    "finished_length_capped",
}
_KIND = re.compile(r"^[a-z_]*(?:reason|status)[._]")
"""What enumerations put before their members: `FinishReason.STOP`, `FINISH_REASON_STOP`, `REASON_MAX_LEN`."""
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_LONGEST = 80
"""Characters of a reason's name that are kept."""

_FIELDS = ("finishreason", "finishreasons", "stopreason", "donereason", "completionreason", "finishdetails")
"""Names of a column with finish reasons, without case, spaces and lines; the first that a row has counts (vLLM's rows
have both of the first and the third, which is the stop text)."""
_CUT_FLAGS = ("truncated", "istruncated", "cutoff", "iscutoff")
"""Names of a column that says by true that a response was cut off; false says nothing."""


def finish_reason(said: object) -> str:
    """The name under which a server's finish reason is kept: `stop`, `length`, `unknown`, or the reason itself."""
    if isinstance(said, dict):  # SGLang's and AI21's are objects
        said = next((said[key] for key in ("type", "reason", "name") if said.get(key) is not None), None)
    elif isinstance(said, list) and len(said) == 1:
        said = said[0]
    if not isinstance(said, str) or not said.strip():
        return UNKNOWN if said is None or isinstance(said, str) else _kept(str(said))
    plain = _CAMEL.sub("_", said.strip()).lower().replace("-", "_").replace(" ", "_")
    for name in (plain, _KIND.sub("", plain)):
        if name in _STOPS:
            return STOP
        if name in _LENGTHS:
            return LENGTH
    return _kept(plain)


def _kept(name: str) -> str:
    """A reason of a server's own as every table can hold it."""
    return name[:_LONGEST].encode("utf-8", "replace").decode()


def recorded_reason(record: Mapping[str, Any]) -> object:
    """What a row of recorded responses says of how they ended, in any server's name for that column.

    Returns:
        The column's value, a list of them where the row has several responses; `NOT_RECORDED` without a column.
    """
    plain = {"".join(one for one in str(name).lower() if one.isalnum()): value for name, value in record.items()}
    if any(plain.get(name) in (True, "true", "True") for name in _CUT_FLAGS):
        return LENGTH
    found = [plain[name] for name in _FIELDS if name in plain]
    return next((value for value in found if value is not None), None) if found else NOT_RECORDED


def is_whole(reason: str) -> bool:
    """Whether a response that ended for this reason, as `finish_reason` names it, said all that it had to say."""
    return reason in (STOP, NOT_RECORDED)


def whole_text(response: str, reason: str) -> str:
    """The response where it is whole, else nothing: what was cut off did not answer."""
    return response if is_whole(reason) else ""


def unexpected(reasons: Iterable[str]) -> list[str]:
    """Those of some reasons that are neither an end nor a limit: worth naming to the user."""
    return sorted(set(reasons) - {STOP, LENGTH, NOT_RECORDED})
