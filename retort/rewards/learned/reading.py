"""How a tokenizer reads text: a name for it that can be compared, and where its tokens end."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

WORDS = {"vocabulary": "vocabulary", "chat_template": "chat template"}
"""The parts of a reading, as errors call them."""


def reading(tokenizer: PreTrainedTokenizerFast) -> dict[str, str]:
    """SHA-256 of a tokenizer's tokens with their ids, and of its chat template."""
    vocabulary = json.dumps(sorted(tokenizer.get_vocab().items()))
    parts = {"vocabulary": vocabulary, "chat_template": str(tokenizer.chat_template)}
    return {name: hashlib.sha256(text.encode()).hexdigest() for name, text in parts.items()}


def differences(one: dict[str, str], other: dict[str, str]) -> str:
    """What differs between two readings, in words: `vocabulary and chat template`; empty where nothing does."""
    return " and ".join(words for part, words in WORDS.items() if one.get(part) != other.get(part))


def token_ends(tokenizer: PreTrainedTokenizerFast, response: str, *, finished: bool) -> list[int]:
    """For each token of `retort.modeling.chat.response_ids`, the number of characters written when it is complete.

    The end token, which writes none, counts as one more, so that no other tokenizer's end token comes before it.
    """
    offsets = tokenizer(response, add_special_tokens=False, return_offsets_mapping=True).offset_mapping
    ends: list[int] = [end for _, end in offsets]
    return [*ends, len(response) + 1] if finished else ends
