"""How chat templates end turns, and what is trained and generated accordingly: the templates of real families."""

from __future__ import annotations

import copy
import re

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from retort.errors import ModelError
from retort.modeling.chat import holds_markup, prompt_ids, response_ids, response_text, response_tokens
from retort.modeling.turns import end_ids, turn_of
from retort.trainers.sft.examples import Example
from retort.trainers.sft.train import tokenize

CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
CHATML_ASK = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
GEMMA = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content | trim }}"
    "<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
PHI3 = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% else %}{{ eos_token }}{% endif %}"
)
LLAMA2 = (
    "{% for m in messages %}{% if m.role == 'user' %}{{ bos_token }}[INST] {{ m.content.strip() }} [/INST]"
    "{% else %} {{ m.content.strip() }} {{ eos_token }}{% endif %}{% endfor %}"
)
LLAMA32 = (
    "{{ bos_token }}{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
    "<|start_header_id|>system<|end_header_id|>\n\nToday Date: {{ date_string }}\n\n<|eot_id|>"
    "{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content | trim }}"
    "<|eot_id|>{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
QWEN3 = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}{{ m.content }}"
    "<|im_end|>\n{% endfor %}" + CHATML_ASK
)
R1 = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}<|User|>{{ m.content }}{% else %}<|Assistant|>"
    "{{ m.content.split('</think>')[-1] }}<|eos|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|Assistant|><think>\n{% endif %}"
)
GLM = "[gMASK]<sop>{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}{% endfor %}" + (
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
GPT_OSS = (
    "{% for m in messages %}<|start|>{{ m.role }}<|message|>{{ m.content }}"
    "{{ '<|return|>' if loop.last and m.role == 'assistant' and not add_generation_prompt else '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant<|message|>{% endif %}"
)
PLAIN = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}" + (
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
SPECIAL = [
    *(
        "<pad>",
        "<eos>",
        "<bos>",
        "<start_of_turn>",
        "<end_of_turn>",
        "<|user|>",
        "<|assistant|>",
        "<|end|>",
        "<|im_start|>",
    ),
    *("<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|User|>", "<|Assistant|>", "<|eos|>"),
    *("[gMASK]", "<sop>", "<|start|>", "<|message|>", "<|return|>"),
]


def tokenizer_of(template: str, eos: str = "<eos>", *, special: list[str] = SPECIAL) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer with the special tokens of several families; `<think>` is added but not special."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(
        [], trainers.BpeTrainer(special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    )
    core.add_tokens(["<think>", "</think>"])
    return PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<bos>", eos_token=eos, pad_token="<pad>", chat_template=template
    )


FAMILIES = {
    # template, the tokenizer's EOS, what is trained behind the prompt for the response "4."
    "gemma": (GEMMA, "<eos>", "4.<end_of_turn>"),
    "phi 3": (PHI3, "<eos>", "4.<|end|>"),
    "llama 2": (LLAMA2, "<eos>", "4. <eos>"),
    "llama 3.2": (LLAMA32, "<eos>", "4.<|eot_id|>"),
    "chatml on a base model": (CHATML + CHATML_ASK, "<eos>", "4.<|im_end|>"),
    "qwen 3": (QWEN3, "<|im_end|>", "4.<|im_end|>"),
    "deepseek r1": (R1, "<|eos|>", "4.<|eos|>"),
    "gpt-oss": (GPT_OSS, "<|return|>", "4.<|return|>"),
    "glm": (GLM, "<eos>", "4.<eos>"),
    "no special tokens": (PLAIN, "<eos>", "4.<eos>"),
    "an opening whatever is asked": (CHATML + "<|im_start|>assistant\n", "<eos>", "4.<|im_end|>"),
    "an opening and no end": (
        "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}<|assistant|>",
        "<eos>",
        "4.<eos>",
    ),
    "the last message alone": ("{{ messages[-1].content }}", "<eos>", "4.<eos>"),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_turn_is_trained_to_end_as_the_template_ends_it_and_generation_stops_there(family):
    template, eos, expected = FAMILIES[family]
    tokenizer = tokenizer_of(template, eos)
    assert tokenizer.decode(response_ids(tokenizer, "4.")) == expected
    assert tokenizer.decode(response_ids(tokenizer, "4.", finished=False)) == "4."
    last = response_ids(tokenizer, "4.")[-1]
    assert set(end_ids(tokenizer)) == {last, tokenizer.eos_token_id}
    (row,) = tokenize(tokenizer, [Example("p", "2 + 2?", "4.")], 200)
    assert tokenizer.decode(row["input_ids"]).endswith("2 + 2?" + tokenizer.decode(prompt_tail(tokenizer)) + expected)
    assert sum(row["completion_mask"]) == len(response_ids(tokenizer, "4."))


def prompt_tail(tokenizer):
    """What the template writes between a question and the assistant's words."""
    text = tokenizer.decode(prompt_ids(tokenizer, "Z?"))
    return tokenizer(text[text.index("Z?") + 2 :], add_special_tokens=False).input_ids


@pytest.mark.parametrize("family", ["gemma", "phi 3", "llama 3.2", "chatml on a base model", "gpt-oss", "llama 2"])
def test_what_is_trained_is_the_template_s_own_conversation(family):
    template, eos, _ = FAMILIES[family]
    tokenizer = tokenizer_of(template, eos)
    messages = [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4."}]
    day = {"date_string": "26 Jul 2024"}
    written = tokenizer.apply_chat_template(messages, tokenize=False, **day)
    trained = tokenizer.decode(prompt_ids(tokenizer, "2 + 2?") + response_ids(tokenizer, "4."))
    # Llama 2 writes a space before the assistant's words, which its tokenizer adds by itself.
    assert written.replace("[/INST] 4", "[/INST]4").startswith(trained)
    assert len(written) - len(trained) < 8  # a line break, or one more end token


@pytest.mark.parametrize(
    ("family", "words"),
    [
        ("gemma", "trims"),
        ("llama 3.2", "date, which is always 26 Jul 2024"),
        ("llama 3.2", r"begins every conversation with .*Today Date"),
        ("qwen 3", r"before an assistant's words, the prompt"),
        ("deepseek r1", r"the prompt '<think>\\n'"),
        ("glm", "does not end an assistant's turn: '<eos>'"),
        ("the last message alone", "trained and read right behind the prompt"),
        ("an opening and no end", "does not end an assistant's turn: '<eos>'"),
    ],
)
def test_what_a_template_does_besides_is_said(family, words):
    template, eos, _ = FAMILIES[family]
    remarks = turn_of(tokenizer_of(template, eos)).remarks
    assert any(re.search(words, remark) for remark in remarks), remarks


def test_a_plain_template_gives_no_cause_for_remarks(tiny_tokenizer):
    assert turn_of(tiny_tokenizer).remarks == ()
    assert turn_of(tokenizer_of(CHATML + CHATML_ASK, "<|im_end|>")).remarks == ()


def test_the_date_in_a_prompt_is_the_same_every_day():
    ids = prompt_ids(tokenizer_of(LLAMA32), "2 + 2?")
    assert "Today Date: 26 Jul 2024" in tokenizer_of(LLAMA32).decode(ids)


def test_a_template_without_generation_prompt_gets_the_opening_of_its_assistant_s_turns():
    tokenizer = tokenizer_of(CHATML)
    assert tokenizer.decode(prompt_ids(tokenizer, "2 + 2?")).endswith("2 + 2?<|im_end|>\n<|im_start|>assistant\n")
    assert any("no generation prompt" in remark for remark in turn_of(tokenizer).remarks)


def test_content_goes_in_parts_where_the_template_reads_parts():
    parts = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for c in m.content %}{% if c.type == 'text' %}{{ c.text }}"
        "{% endif %}{% endfor %}<|im_end|>\n{% endfor %}" + CHATML_ASK
    )
    tokenizer = tokenizer_of(parts)
    assert "2 + 2?" in tokenizer.decode(prompt_ids(tokenizer, "2 + 2?"))
    assert tokenizer.decode(response_ids(tokenizer, "4.")) == "4.<|im_end|>"


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{% for m in messages %}{{ m.role", "TemplateSyntaxError"),
        ("{{ raise_exception('tools are needed') }}", "tools are needed"),
        ("{{ messages[0].content + 1 }}", "TypeError"),
        ("{{ messages[7].content.text }}", "UndefinedError"),
        ("{% for m in messages %}<|im_start|>{{ m.role }}<|im_end|>{% endfor %}", "do not hold what the user asks"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
    ],
)
def test_a_template_with_a_mistake_is_refused_with_what_is_wrong(template, words):
    with pytest.raises(ModelError, match=rf"field 'chat_template'.*{words}(.|\n)*`chat_template` beside `model`"):
        turn_of(tokenizer_of(template))


def test_markup_that_is_no_token_ends_generation_as_text_and_the_end_token_is_trained():
    tokenizer = tokenizer_of(CHATML + CHATML_ASK, special=["<pad>", "<eos>", "<bos>"])
    turn = turn_of(tokenizer)
    assert turn.stop == "<|im_end|>"
    assert tokenizer.decode(response_ids(tokenizer, "4.")) == "4.<eos>"
    ids = tokenizer("4.<|im_end|>\n<|im_start|>user", add_special_tokens=False).input_ids
    assert response_text(tokenizer, ids, end_ids(tokenizer)) == "4."


def test_every_end_of_the_generation_configuration_ends_generation(tiny_model):
    tokenizer, model = tokenizer_of(GEMMA), tiny_model()
    model.generation_config.eos_token_id = [3, 77]
    end = tokenizer.convert_tokens_to_ids("<end_of_turn>")
    assert end_ids(tokenizer, model) == tuple(sorted({3, 77, end, tokenizer.eos_token_id}))
    model.generation_config.eos_token_id = 77
    assert 77 in end_ids(tokenizer, model)
    model.generation_config.eos_token_id = None
    assert end_ids(tokenizer, model) == tuple(sorted({end, tokenizer.eos_token_id}))


@pytest.mark.parametrize("family", ["gemma", "llama 2", "llama 3.2", "glm"])
def test_a_generated_response_reads_as_it_is_written_without_markup(family):
    template, eos, _ = FAMILIES[family]
    tokenizer = tokenizer_of(template, eos)
    ids = response_ids(tokenizer, "The answer is 4.")
    assert response_text(tokenizer, ids, end_ids(tokenizer)) == "The answer is 4."
    opened = tokenizer.convert_tokens_to_ids("<start_of_turn>" if family == "gemma" else "<bos>")
    assert response_text(tokenizer, [*ids[:-1], opened], end_ids(tokenizer)).strip() == "The answer is 4."


def test_thoughts_are_kept_though_their_marks_are_tokens_of_the_template():
    tokenizer = tokenizer_of(QWEN3, "<|im_end|>")
    ids = response_ids(tokenizer, "<think>\n2 + 2\n</think>\n\n4.")
    assert response_text(tokenizer, ids, end_ids(tokenizer)) == "<think>\n2 + 2\n</think>\n\n4."


def test_markup_within_a_response_ends_what_is_trained_of_it():
    tokenizer = tokenizer_of(GEMMA)
    text = "4.<end_of_turn>\n<start_of_turn>user\nAnd now?"
    assert holds_markup(tokenizer, text)
    assert not holds_markup(tokenizer, "4 < 5.")
    assert tokenizer.decode(response_ids(tokenizer, text)) == "4.<end_of_turn>"
    assert tokenizer.decode(response_ids(tokenizer, text, finished=False)) == "4."


def test_tokens_know_where_they_end_in_the_text():
    tokenizer = tokenizer_of(LLAMA2)
    ids, ends = response_tokens(tokenizer, "18 é.", finished=True)
    assert len(ids) == len(ends)
    assert ends == [
        1,
        2,
        3,
        4,
        4,
        5,
        6,
        6,
    ]  # é is two bytes; the closing, a space and the end token, counts as one more
    assert response_tokens(tokenizer, "18 é.", finished=False)[1] == ends[:-2]


def test_a_changed_template_is_another_turn(tiny_tokenizer):
    tokenizer = copy.deepcopy(tiny_tokenizer)
    before = turn_of(tokenizer)
    tokenizer.chat_template = tokenizer.chat_template.replace("<|end|>", "<|user|>")
    assert turn_of(tokenizer).closing != before.closing
