"""Make a tiny student with random weights: `python -m retort.demo.tiny --architecture llama --text FILE... OUT`.

Its tokenizer is trained on real text with the special tokens, the way of splitting text and the chat format of the
architecture's real models, so that a pipeline which runs with it has met everything of theirs but their size.
`data/gsm8k/tiny-llama` and `data/gsm8k/tiny-qwen2` are made by it from the two files beside them.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retort.io.rows import read_records
from retort.modeling.loading import save_model

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

VOCABULARY = 1024
"""Tokens of the tokenizer, the special ones among them."""

_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


@dataclass(frozen=True)
class Family:
    """What the models of one architecture have in common beside their weights."""

    bos: str | None
    eos: str
    pad: str
    others: tuple[str, ...]
    split: str
    """How text is split before merges, as a regular expression."""
    chat_template: str


FAMILIES = {
    # Llama 3 reads numbers in groups of three digits, Qwen2 digit by digit.
    "llama": Family(
        bos="<|begin_of_text|>",
        eos="<|eot_id|>",
        pad="<|finetune_right_pad_id|>",
        others=("<|start_header_id|>", "<|end_header_id|>"),
        split=_WORDS + r"\p{N}{1,3}" + _REST,
        chat_template=(
            "{{- bos_token }}{%- for message in messages %}{{- '<|start_header_id|>' + message['role'] + "
            "'<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}{%- endfor %}"
            "{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}"
        ),
    ),
    "qwen2": Family(
        bos=None,
        eos="<|im_end|>",
        pad="<|endoftext|>",
        others=("<|im_start|>",),
        split=_WORDS + r"\p{N}" + _REST,
        chat_template=(
            "{%- for message in messages %}{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + "
            "'<|im_end|>' + '\\n' }}{%- endfor %}"
            "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
        ),
    ),
}


def make(architecture: str, files: Sequence[Path], out: Path) -> None:
    """Write tokenizer and weights to `out`; the same files give the same bytes.

    Raises:
        InputError: a file is missing or malformed.
    """
    tokenizer = train_tokenizer(FAMILIES[architecture], texts(files))
    save_model(random_model(architecture, tokenizer), tokenizer, out)


def texts(files: Sequence[Path]) -> Iterator[str]:
    """Every text in the records of some JSONL or Parquet files, however deep in a record it lies."""
    for file in files:
        for _, record in read_records(file):
            yield from _strings(record)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key in sorted(value):
            yield from _strings(value[key])
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)


def train_tokenizer(family: Family, lines: Iterator[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer: it reads any text, and writes back what it read."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(family.split), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[token for token in (family.pad, family.bos, family.eos, *family.others) if token],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(lines, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=family.bos,
        eos_token=family.eos,
        pad_token=family.pad,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = family.chat_template
    return fast


def random_model(architecture: str, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """A model of a quarter of a million parameters with random weights in bfloat16."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

    shape: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": 96,
        "intermediate_size": 192,
        "num_hidden_layers": 2,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
        "tie_word_embeddings": True,
        # The usual 0.02 suits widths in the thousands; at these, it makes learning several times slower.
        "initializer_range": 0.06,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    model: Any
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if architecture == "llama":
            model = LlamaForCausalLM(LlamaConfig(**shape))
        else:
            model = Qwen2ForCausalLM(Qwen2Config(**shape))
    random: PreTrainedModel = model.to(torch.bfloat16).eval()
    return random


def main() -> None:
    """Read the command line and make the student."""
    parser = argparse.ArgumentParser(prog="python -m retort.demo.tiny", description=__doc__.partition("\n")[0])
    parser.add_argument("--architecture", choices=sorted(FAMILIES), required=True)
    parser.add_argument("--text", nargs="+", type=Path, required=True, help="JSONL or Parquet files to train on")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write")
    arguments = parser.parse_args()
    make(arguments.architecture, arguments.text, arguments.out)


if __name__ == "__main__":
    main()
