"""Prompts and responses as tokens: the tokenizer's own chat template, one way of doing it for every stage."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Literal

from retort.errors import InputError, ModelError
from retort.modeling.conversations import messages_in
from retort.modeling.turns import rendered, turn_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Form = Literal["message", "conversation", "text"]
"""What a prompt is: a user's message, a JSON list of chat messages, or text to continue as it stands."""


def messages_of(prompt: str, form: Form = "message") -> list[dict[str, str]]:
    """The chat messages that a prompt stands for; a user's message may hold a conversation (`conversations`).

    Raises:
        ValueError: the prompt is text to continue, which has none.
    """
    if form == "message":
        return messages_in(prompt) or [{"role": "user", "content": prompt}]
    if form == "text":
        raise ValueError("text to continue is no conversation")
    messages: list[dict[str, str]] = json.loads(prompt)
    return messages


def prompt_ids(tokenizer: PreTrainedTokenizerFast, prompt: str, form: Form = "message") -> list[int]:
    """Tokens of a prompt in the chat template, up to where the assistant begins, or goes on if the last turn is its.

    Text to continue gets the tokenizer's own special tokens (a beginning-of-text token, where it has one) instead.

    Raises:
        ModelError: the chat template refuses the conversation.
    """
    if form == "text":
        raw: list[int] = tokenizer(prompt).input_ids
        return raw
    ids: list[int] = tokenizer(_templated(tokenizer, messages_of(prompt, form)), add_special_tokens=False).input_ids
    return ids


def _templated(tokenizer: PreTrainedTokenizerFast, messages: list[dict[str, str]]) -> str:
    begun, turn = messages[-1]["role"] == "assistant", turn_of(tokenizer)
    try:
        text = rendered(tokenizer, messages, parts=turn.parts, ask=not begun, go_on=begun)
    except ModelError:
        # Templates without a system role (Gemma's) refuse it: its words then begin the user's first message.
        if len(messages) < 2 or messages[0]["role"] != "system":
            raise
        first, second, *rest = messages
        joined = {"role": second["role"], "content": f"{first['content']}\n\n{second['content']}"}
        return _templated(tokenizer, [joined, *rest])
    return text if begun else text + turn.opening


def response_ids(tokenizer: PreTrainedTokenizerFast, response: str, *, finished: bool = True) -> list[int]:
    """Tokens of a response, with those that end an assistant's turn in the chat template where the model ended it."""
    return response_tokens(tokenizer, response, finished=finished)[0]


def response_tokens(
    tokenizer: PreTrainedTokenizerFast, response: str, *, finished: bool
) -> tuple[list[int], list[int]]:
    """Tokens of a response, and for each the number of characters written when it is complete.

    What follows the markup of a turn within the text is left out: a model that writes it has ended its turn there. Each
    token that ends the turn, which writes nothing of the response, counts as one character more, so that no other
    tokenizer's end token comes before it.
    """
    turn = turn_of(tokenizer)
    before = len(tokenizer(turn.context, add_special_tokens=False).input_ids) if turn.context else 0
    found = tokenizer(turn.context + response, add_special_tokens=False, return_offsets_mapping=True)
    ids: list[int] = found.input_ids[before:]
    ends: list[int] = [end - len(turn.context) for _, end in found.offset_mapping[before:]]
    whole = next((place for place, token in enumerate(ids) if token in turn.markup), len(ids))
    if not finished:
        return ids[:whole], ends[:whole]
    return [*ids[:whole], *turn.closing], [*ends[:whole], *[len(response) + 1] * len(turn.closing)]


def response_text(tokenizer: PreTrainedTokenizerFast, ids: Sequence[int], ends: Collection[int]) -> str:
    """The text of generated tokens without special tokens and without what ends or begins a turn.

    Args:
        tokenizer: Its chat template says what that is.
        ids: The tokens, with the one that ended the response if there was one.
        ends: Tokens that end a response (`turns.end_ids`).
    """
    turn = turn_of(tokenizer)
    ended = bool(ids) and ids[-1] in ends
    kept = [one for one in (ids[:-1] if ended else ids) if one not in turn.markup]
    text = tokenizer.decode(kept, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert isinstance(text, str), "one sequence decodes to one text"
    if ended and turn.lead:
        text = text.removesuffix(turn.lead)
    return text.partition(turn.stop)[0] if turn.stop else text


def holds_markup(tokenizer: PreTrainedTokenizerFast, response: str) -> bool:
    """Whether a response, as text, holds what ends or begins a turn."""
    markup = turn_of(tokenizer).markup
    return any(token in markup for token in tokenizer(response, add_special_tokens=False).input_ids)


VOCABULARY, TEMPLATE = "vocabulary", "chat_template"
_PARTS = {VOCABULARY: "vocabulary", TEMPLATE: "chat template"}
"""The parts of a tokenizer's fingerprint, as errors call them."""


def fingerprint(tokenizer: PreTrainedTokenizerFast) -> dict[str, str]:
    """SHA-256 of a tokenizer's tokens with their ids, and of its chat template: how it reads text, to be compared."""
    vocabulary = json.dumps(sorted(tokenizer.get_vocab().items()))
    parts = {VOCABULARY: vocabulary, TEMPLATE: str(tokenizer.chat_template)}
    return {name: hashlib.sha256(text.encode()).hexdigest() for name, text in parts.items()}


def differing_parts(one: dict[str, str], other: dict[str, str]) -> str:
    """What differs between two fingerprints, in words: `vocabulary and chat template`; empty where nothing does."""
    return " and ".join(words for part, words in _PARTS.items() if one.get(part) != other.get(part))


def check_prompt_length(length: int, new_tokens: int, context: int, *, prompt_id: str, file: str) -> None:
    """Refuse a prompt that leaves no room for a response in the model's context.

    Raises:
        InputError: prompt and response together are longer than the context.
    """
    if length + new_tokens > context:
        raise InputError(
            f"prompt {prompt_id!r} has {length} tokens; with {new_tokens} for the response it exceeds the model's "
            f"context of {context}",
            file=file,
            field="prompt",
            remedy="Shorten or remove the prompt, lower max_new_tokens, or use a model with a longer context",
        )
