"""Prompts and responses as tokens: the tokenizer's own chat template, one way of doing it for every stage."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal

from retort.errors import InputError
from retort.modeling.conversations import messages_in

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
    """
    if form == "text":
        raw: list[int] = tokenizer(prompt).input_ids
        return raw
    ids: list[int] = tokenizer(_templated(tokenizer, messages_of(prompt, form)), add_special_tokens=False).input_ids
    return ids


def _templated(tokenizer: PreTrainedTokenizerFast, messages: list[dict[str, str]]) -> str:
    from jinja2 import TemplateError

    begun = messages[-1]["role"] == "assistant"
    try:
        text = tokenizer.apply_chat_template(
            messages, add_generation_prompt=not begun, continue_final_message=begun, tokenize=False
        )
    except TemplateError:
        # Templates without a system role (Gemma's) refuse it: its words then begin the user's first message.
        if len(messages) < 2 or messages[0]["role"] != "system":
            raise
        first, second, *rest = messages
        joined = {"role": second["role"], "content": f"{first['content']}\n\n{second['content']}"}
        return _templated(tokenizer, [joined, *rest])
    assert isinstance(text, str), "text was asked for"
    return text


def response_ids(tokenizer: PreTrainedTokenizerFast, response: str, *, finished: bool = True) -> list[int]:
    """Tokens of a response, with the end token where the model ended it itself."""
    ids: list[int] = tokenizer(response, add_special_tokens=False).input_ids
    assert tokenizer.eos_token_id is not None, "load_tokenizer refuses tokenizers without EOS"
    return [*ids, tokenizer.eos_token_id] if finished else ids


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
