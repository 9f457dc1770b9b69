"""Fixtures that several test modules share: a tiny tokenizer, and tiny models with random weights."""

from __future__ import annotations

import json
import logging
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from retort import plugins
from retort.config import RetortConfig, resolved
from retort.config.students import DEFAULT_REWARDS, DEFAULT_STUDENTS
from retort.io import tables
from retort.run.paths import Paths
from retort.run.stage import run_stage

CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
LINES = [
    "Dan has 39 cards . Dan buys 25 more . how many cards now ?",
    "39 + 25 = 64 . #### 64",
    "Natalia sold 48/2 = <<48/2=24>>24 clips in May.",
    "How many clips did Natalia sell altogether in April and May?",
]


@pytest.fixture(scope="session")
def tiny_tokenizer():
    """Byte-level BPE of about 300 tokens with pad, EOS and a chat template; reads and writes any text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|pad|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(LINES, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|pad|>",
        eos_token="<|end|>",
        chat_template=CHAT_TEMPLATE,
        padding_side="left",
        model_max_length=256,
    )


def tiny_config(architecture: str, vocabulary: int, pad: int, eos: int):
    """Configuration of a model of about 20,000 parameters: two layers, hidden size 16, context 256."""
    from transformers import Gemma2Config, GPT2Config, LlamaConfig, Qwen2Config

    tokens: dict[str, Any] = {"vocab_size": vocabulary, "pad_token_id": pad, "eos_token_id": eos, "bos_token_id": None}
    if architecture == "gpt2":
        return GPT2Config(n_embd=16, n_layer=2, n_head=2, n_positions=256, **tokens)
    shape: dict[str, Any] = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "tie_word_embeddings": True,
    }
    if architecture == "gemma2":
        # A window shorter than the tests' sequences, so that sliding and full layers differ.
        return Gemma2Config(**shape, **tokens, head_dim=4, sliding_window=8)
    return {"llama": LlamaConfig, "qwen2": Qwen2Config}[architecture](**shape, **tokens)


@pytest.fixture(scope="session")
def tiny_model(tiny_tokenizer) -> Callable[..., Any]:
    """`tiny_model(architecture="llama", seed=0)`: a model with random weights, large enough to be far from uniform.

    `ends` scales the end token's embedding: with 7 many a response of a few tokens ends.
    """

    def make(architecture: str = "llama", seed: int = 0, ends: float = 1.0):
        import torch
        from transformers import AutoModelForCausalLM

        config = tiny_config(
            architecture, len(tiny_tokenizer), tiny_tokenizer.pad_token_id, tiny_tokenizer.eos_token_id
        )
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = AutoModelForCausalLM.from_config(config)
            for weight in model.parameters():
                if weight.dim() > 1:
                    torch.nn.init.normal_(weight, std=0.3)
            model.get_input_embeddings().weight.data[tiny_tokenizer.eos_token_id] *= ends
        return model.eval()

    return make


@pytest.fixture
def tiny_model_folder(tmp_path, tiny_tokenizer, tiny_model) -> Callable[..., Path]:
    """`tiny_model_folder(architecture="llama", seed=0)`: such a model with the tiny tokenizer, saved as safetensors.

    Architectures: llama, qwen2, gemma2, gpt2. `name` sets the folder's name under tmp_path.
    """

    def make(architecture: str = "llama", seed: int = 0, name: str | None = None, ends: float = 1.0) -> Path:
        folder = tmp_path / (name or f"{architecture}-{seed}")
        tiny_model(architecture, seed, ends).save_pretrained(folder)
        tiny_tokenizer.save_pretrained(folder)
        return folder

    return make


@pytest.fixture
def limit_file_size() -> Callable[..., Any]:
    """`with limit_file_size(count)`: the system really refuses to make a file longer than `count` bytes (EFBIG).

    A stand-in for a full disk that needs no rights: writes fail in the same places, in Python and in native code.
    """

    @contextmanager
    def limited(count: int) -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (count, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited


# A workspace in which the training stages can run, with tables and models as earlier stages leave them.

TRAINING: dict[str, Any] = {
    "models": {"teacher": {"source": "data/teacher"}, "base": {"source": "data/base"}},
    "students": DEFAULT_STUDENTS,
    "rewards": DEFAULT_REWARDS,
    "prompts": {"sources": [{"path": "data/prompts.jsonl"}]},
    "sft": {"steps": 3, "batch_size": 4, "learning_rate": 1e-2, "max_length": 64, "checkpoint_steps": 1},
    "teacher_responses": {"shards": [0, 1]},
    "reward": {"steps": 4, "batch_size": 8, "learning_rate": 1e-3, "evaluate_steps": 2, "head_size": 8},
    "ppo": {
        "iterations": 2,
        "prompts_per_iteration": 4,
        "responses_per_prompt": 2,
        "max_new_tokens": 4,
        "minibatch_size": 8,
        "critic_warmup": 1,
        "critic_warmup_epochs": 1,
        "critic_head_size": 8,
        "evaluate_every": 1,
        "checkpoint_every": 1,
    },
}


def training_config(**changes: Any) -> RetortConfig:
    """`TRAINING` with other values in its sections; a configuration is checked as a user's is."""
    merged = dict(TRAINING)
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = old | value if isinstance(old, dict) and isinstance(value, dict) else value
    return RetortConfig.model_validate(merged)


def write_params(root: Path, **changes: Any) -> None:
    """`params.yaml` of a workspace as `retort run` writes it: every value written out."""
    with plugins.at(root):
        config = training_config(**changes)
    (root / "params.yaml").write_text(yaml.safe_dump(resolved(config), sort_keys=False))


def write_prompts(paths: Paths, split: str, names: range) -> None:
    rows = [
        {"prompt_id": f"p{n}", "prompt": f"{n} + {n} ?", "answer": str(2 * n), "source": "x", "row": n} for n in names
    ]
    tables.write_table(paths.prompts(split), rows, tables.PROMPTS)


def write_responses(paths: Paths, names: range) -> None:
    """Two responses to each prompt over two shards: sample 0 right, sample 1 wrong."""
    for shard in (0, 1):
        rows = [
            {
                "prompt_id": f"p{n}",
                "sample": sample,
                "source": "teacher",
                "model": "t",
                "temperature": 1.0,
                "seed": 0,
                "response": f"#### {2 * n + sample}",
                "finish_reason": "stop",
                "prompt_tokens": 5,
                "response_tokens": 5,
            }
            for n in names
            if n % 2 == shard
            for sample in (0, 1)
        ]
        tables.write_table(paths.responses("teacher", shard), rows, tables.RESPONSES)


def write_votes(paths: Paths, names: range, *, abstained: bool = False) -> None:
    rows = [
        {
            "prompt_id": f"p{n}",
            "label": None if abstained else str(2 * n),
            "votes": 1,
            "total": 2,
            "share": 0.5,
            "margin": 0.5,
            "abstained": abstained,
            "answer": None,
            "correct": None,
        }
        for n in names
    ]
    tables.write_table(paths.votes, rows, tables.VOTES)


def write_reward_data(paths: Paths, split: str, names: range, *, labels: tuple[int, ...] = (1, 0)) -> None:
    rows = [
        {
            "prompt_id": f"p{n}",
            "prompt": f"{n} + {n} ?",
            "response": f"#### {2 * n + 1 - label}",
            "source": source,
            "finished": True,
            "label": label,
            "correct": bool(label),
        }
        for n in names
        for source in ("teacher", "sft")
        for label in labels
    ]
    tables.write_table(paths.reward_data("learned", split), rows, tables.REWARD_EXAMPLES)


@pytest.fixture
def training_root(tmp_path, tiny_model_folder) -> Callable[..., Path]:
    """`training_root(name="ws", section={...})`: a workspace with 12 training and 8 validation prompts."""
    logging.getLogger("dvclive").setLevel(logging.ERROR)

    def make(name: str = "ws", **changes: Any) -> Path:
        root = tmp_path / name
        paths = Paths(root)
        write_prompts(paths, "train", range(12))
        write_prompts(paths, "validation", range(12, 20))
        write_responses(paths, range(12))
        write_votes(paths, range(20))
        write_reward_data(paths, "train", range(12))
        write_reward_data(paths, "validation", range(12, 20))
        for number, model in enumerate(("teacher", "base", "sft")):
            tiny_model_folder(seed=number, name=f"{name}/outputs/models/{model}")
        write_params(root, **changes)
        return root

    made: Any = make
    made.root = lambda name: tmp_path / name
    return made


@pytest.fixture
def with_reward(training_root, tiny_model_folder) -> Callable[..., Path]:
    """`with_reward(...)`: the same after the stage `reward`, with a gate that lets it pass unless `passed=False`.

    A student that ends no response and a reward model that tells none apart, which a few steps make, would show little
    of PPO: the SFT student becomes one that ends some, and the scores' calibration is taken back.
    """

    from safetensors.torch import load_file, save_file

    def make(name: str = "ws", *, passed: bool = True, **changes: Any) -> Path:
        root = training_root(name, **changes)
        run_stage("reward", {"reward": "learned"}, root)
        tiny_model_folder(seed=2, name=f"{name}/outputs/models/sft", ends=7.0)
        head = load_file(root / "outputs/rewards/learned/head.safetensors")
        head["temperature"].fill_(1.0)
        save_file(head, root / "outputs/rewards/learned/head.safetensors")
        file = root / "metrics/reward-learned.json"
        gate = {"gate_passed": passed, "gate_reasons": [] if passed else ["AUC 0.500 is below min_auc 0.75"]}
        file.write_text(json.dumps(json.loads(file.read_text()) | gate))
        return root

    return make
