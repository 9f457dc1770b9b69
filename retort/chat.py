"""Prompts and responses as tokens: the tokenizer's own chat template, one way of doing it for every stage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from retort.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def prompt_ids(tokenizer: PreTrainedTokenizerFast, prompt: str) -> list[int]:
    """Tokens of a user's message in the chat template, up to where the assistant begins."""
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], add_generation_prompt=True, tokenize=False
    )
    ids: list[int] = tokenizer(text, add_special_tokens=False).input_ids
    return ids


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
