"""Reading conversations as data sets write them: OpenAI's messages and ShareGPT's turns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from retort.errors import InputError
from retort.io.json_rows import kind_of
from retort.io.rows import check_unicode
from retort.modeling.conversations import Message

_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
}
"""Names of roles: OpenAI's, ShareGPT's, OpenAssistant's, Gemini's."""

_REMEDY = 'Give messages such as {"role": "user", "content": "..."} or {"from": "human", "value": "..."}'


def read_conversation(value: list[Any], field: str, *, file: Path | str, row: int) -> list[Message]:
    """The messages of a conversation up to the user's last one; an answer after it is not part of a prompt.

    Raises:
        InputError: a message has no text or a role that is none of system, user and assistant; no user speaks, or a
            system prompt comes late.
    """
    # What follows the user's last message is not read: an answer may be tool calls, or null where it is to be given.
    asked = max((place for place, one in enumerate(value, start=1) if _role(one) == "user"), default=0)
    messages = [_message(one, f"{field}[{place}]", file, row) for place, one in enumerate(value[: asked or None])]
    if not asked:
        raise InputError("holds no message of a user", file=file, row=row, field=field, remedy=_REMEDY)
    if any(one["role"] == "system" for one in messages[1:]):
        remedy = "Put the system prompt first"
        raise InputError("has a system prompt after other messages", file=file, row=row, field=field, remedy=remedy)
    return messages


def _role(one: Any) -> str | None:
    said = (one.get("role") or one.get("from")) if isinstance(one, dict) else None
    return _ROLES.get(said.strip().lower()) if isinstance(said, str) else None


def _message(one: Any, field: str, file: Path | str, row: int) -> Message:
    if not isinstance(one, dict):
        raise InputError(f"is {kind_of(one)}, not a message", file=file, row=row, field=field, remedy=_REMEDY)
    role = _role(one)
    if role is None:
        said = one.get("role") or one.get("from")
        remedy = f"Known roles: {', '.join(sorted(_ROLES))}. Leave rows with tool calls out"
        raise InputError(f"has the role {said!r}", file=file, row=row, field=field, remedy=remedy)
    content = next((one[key] for key in ("content", "value", "text") if one.get(key) is not None), None)
    if content is None and one.get("tool_calls"):
        raise InputError("calls a tool", file=file, row=row, field=field, remedy="Leave rows with tool calls out")
    if isinstance(content, list):
        content = _joined(content, field, file, row)
    if not isinstance(content, str):
        problem = f"has a content that is {kind_of(content)}, not text"
        raise InputError(problem, file=file, row=row, field=field, remedy=_REMEDY)
    if role == "user" and not content.strip():
        raise InputError("is empty", file=file, row=row, field=field, remedy="Mend or remove the row")
    check_unicode(content, field, file=file, row=row)
    return {"role": role, "content": content}


def _joined(parts: list[Any], field: str, file: Path | str, row: int) -> str:
    texts = []
    for part in parts:
        text = part if isinstance(part, str) else part.get("text") if isinstance(part, dict) else None
        if not isinstance(text, str):
            kind = part.get("type", "something else") if isinstance(part, dict) else kind_of(part)
            problem = f"has a part that is no text ({kind})"
            raise InputError(problem, file=file, row=row, field=field, remedy="Leave rows with images or sound out")
        texts.append(text)
    return "".join(texts)
