"""Prompts and responses as tokens."""

from __future__ import annotations

import copy
import json

import pytest

from retort.errors import InputError
from retort.modeling.chat import check_prompt_length, prompt_ids, response_ids


def test_a_prompt_is_the_chat_template_up_to_where_the_assistant_begins(tiny_tokenizer):
    ids = prompt_ids(tiny_tokenizer, "2 cards ?")
    assert tiny_tokenizer.decode(ids) == "<|user|>2 cards ?<|assistant|>"


def test_a_conversation_keeps_its_roles_and_goes_on_where_the_assistant_began(tiny_tokenizer):
    turns = [("system", "be brief"), ("user", "1 ?"), ("assistant", "1"), ("user", "2 ?")]
    messages = [{"role": role, "content": content} for role, content in turns]
    text = tiny_tokenizer.decode(prompt_ids(tiny_tokenizer, json.dumps(messages), "conversation"))
    assert text == "<|system|>be brief<|user|>1 ?<|assistant|>1<|end|><|user|>2 ?<|assistant|>"
    begun = json.dumps([*messages, {"role": "assistant", "content": "The answer"}])
    assert tiny_tokenizer.decode(prompt_ids(tiny_tokenizer, begun, "conversation")).endswith("<|assistant|>The answer")


def test_a_template_without_a_system_role_reads_its_words_in_the_first_message(tiny_tokenizer):
    tokenizer = copy.deepcopy(tiny_tokenizer)
    tokenizer.chat_template = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
        + tiny_tokenizer.chat_template
    )
    messages = json.dumps([{"role": "system", "content": "be brief"}, {"role": "user", "content": "2 ?"}])
    ids = prompt_ids(tokenizer, messages, "conversation")
    assert tokenizer.decode(ids) == "<|user|>be brief\n\n2 ?<|assistant|>"


def test_text_to_continue_gets_no_chat_format(tiny_tokenizer):
    assert tiny_tokenizer.decode(prompt_ids(tiny_tokenizer, "Q: 2 ?\nA:", "text")) == "Q: 2 ?\nA:"


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
