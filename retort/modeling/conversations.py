"""Prompts that are conversations: a system prompt and several turns, as one text that every table and stage can carry.

A prompt is the user's message. One with a system prompt or earlier turns is written as the JSON object
`{"messages": [{"role": ..., "content": ...}, ...]}`, in this very form; a message that happens to be such an object is
written as a conversation of itself, so that the two are never confused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

Message = dict[str, str]

ROLES = ("system", "user", "assistant")

_BEGINS = '{"messages": [{"role": "'


def as_prompt(messages: Sequence[Message]) -> str:
    """The prompt that stands for `messages`: a lone user's message as it is, anything else as JSON."""
    if len(messages) == 1 and messages[0]["role"] == "user" and messages_in(messages[0]["content"]) is None:
        return messages[0]["content"]
    plain = [{"role": one["role"], "content": one["content"]} for one in messages]
    return json.dumps({"messages": plain}, ensure_ascii=False)


def messages_in(prompt: str) -> list[Message] | None:
    """The messages of a prompt that is a conversation; None for a user's message."""
    if not prompt.startswith(_BEGINS):
        return None
    try:
        value = json.loads(prompt)
    except (ValueError, RecursionError):
        return None
    messages = value["messages"] if value.keys() == {"messages"} else None
    if not isinstance(messages, list) or not messages:
        return None
    whole = all(
        isinstance(one, dict)
        and one.keys() == {"role", "content"}
        and one["role"] in ROLES
        and isinstance(one["content"], str)
        for one in messages
    )
    return messages if whole else None


def shown(prompt: str) -> str:
    """A prompt for people and judges: a conversation as its turns, each after its role."""
    messages = messages_in(prompt)
    if messages is None:
        return prompt
    return "\n\n".join(f"{one['role'].capitalize()}: {one['content']}" for one in messages)


def compared(prompt: str) -> str:
    """What a prompt is told apart by: its turns without roles, and a system prompt as one word that stands for it.

    A system prompt that many prompts share would make them all near duplicates, and a benchmark's text of each.
    """
    messages = messages_in(prompt)
    if messages is None:
        return prompt
    system = "\n".join(one["content"] for one in messages if one["role"] == "system")
    turns = [one["content"] for one in messages if one["role"] != "system"]
    mark = [f"system{hashlib.sha256(system.encode()).hexdigest()[:16]}"] if system else []
    return "\n".join([*mark, *turns])


def last_message(prompt: str) -> str:
    """The last message of a prompt: the user's, in what prompts stands for."""
    messages = messages_in(prompt)
    return prompt if messages is None else messages[-1]["content"]
