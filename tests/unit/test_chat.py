"""Prompts and responses as tokens."""

from __future__ import annotations

import pytest

from retort.chat import check_prompt_length, prompt_ids, response_ids
from retort.errors import InputError


def test_a_prompt_is_the_chat_template_up_to_where_the_assistant_begins(tiny_tokenizer):
    ids = prompt_ids(tiny_tokenizer, "2 cards ?")
    assert tiny_tokenizer.decode(ids) == "<|user|>2 cards ?<|assistant|>"


def test_special_tokens_are_not_added_twice(tiny_tokenizer):
    ids = prompt_ids(tiny_tokenizer, "x")
    assert [ids.count(tiny_tokenizer.convert_tokens_to_ids(token)) for token in ("<|user|>", "<|assistant|>")] == [1, 1]


def test_a_finished_response_ends_in_the_end_token_and_a_cut_off_one_does_not(tiny_tokenizer):
    finished, cut = response_ids(tiny_tokenizer, "4"), response_ids(tiny_tokenizer, "4", finished=False)
    assert finished == [*cut, tiny_tokenizer.eos_token_id]


@pytest.mark.parametrize("text", ["39 + 25 = 64 .\n#### 64", "naïve café 漢字 🙂", "  two  spaces \n\n"])
def test_a_response_reads_back_as_it_was(tiny_tokenizer, text):
    assert tiny_tokenizer.decode(response_ids(tiny_tokenizer, text, finished=False)) == text


def test_a_prompt_may_fill_the_context_to_the_last_token():
    check_prompt_length(200, 56, 256, prompt_id="p", file="f")


def test_one_token_more_is_refused_with_file_prompt_and_remedy():
    with pytest.raises(
        InputError, match=r"f, field 'prompt': prompt 'p' has 201 tokens; with 56 .* context of 256\. Short"
    ):
        check_prompt_length(201, 56, 256, prompt_id="p", file="f")
