"""Make the demonstration's assets again: `python -m retort.demo.make FOLDER`.

Writes `prompts.jsonl` and `unlabelled.jsonl.gz`, and the folders `teacher` and `base` with a tokenizer trained on the
problems' text and Llama-architecture models trained from random weights on freshly drawn problems with correct
solutions. Both are stopped before the end of their schedules: the teacher where it is right on about five problems in
six, so that its samples slip often enough for a vote to correct, the base student earlier still.
"""

from __future__ import annotations

import gzip
import json
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from retort.demo.task import draw_problem, write_solution
from retort.io.files import atomic_path, write_json, write_text
from retort.io.progress import Progress
from retort.modeling.loading import save_model

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

    from retort.modeling.batch import TokenBatch

PROMPTS = 6000
"""Problems in prompts.jsonl, with their answers: those that the teacher answers, and those to test on."""

UNLABELLED = 19_000
"""Problems in unlabelled.jsonl.gz, which the teacher never answers; they are without answers there too."""

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


@dataclass(frozen=True)
class Recipe:
    """Size and training of one model."""

    hidden_size: int
    layers: int
    heads: int
    steps: int
    learning_rate: float
    schedule: int
    """Steps that the learning rate's decay is laid out for; training stops before."""
    seed: int = 0
    batch_size: int = 64


TEACHER = Recipe(hidden_size=128, layers=4, heads=4, steps=1000, learning_rate=2e-3, schedule=1400)
BASE = Recipe(hidden_size=96, layers=3, heads=3, steps=1000, learning_rate=3e-3, schedule=1000)


FIRST_LOSSES = 10
"""Losses of so many first steps are kept in losses.json, by which a test tells that the command still does this."""


def main(folder: Path) -> None:
    """Write all assets into `folder`."""
    import torch

    torch.set_num_threads(1)  # sums over threads round differently, and 1,000 steps make that visible
    losses = {}
    write_prompts(folder)
    tokenizer = train_tokenizer()
    for name, recipe in (("teacher", TEACHER), ("base", BASE)):
        model, course = train(tokenizer, recipe, name)
        save_model(model, tokenizer, folder / name)
        losses[name] = course[:FIRST_LOSSES]
    write_json(folder / "losses.json", losses)


def write_prompts(folder: Path) -> None:
    """Write both files of problems; no two are the same."""
    drawn = list(prompts(PROMPTS + UNLABELLED))
    write_text(folder / "prompts.jsonl", "".join(json.dumps(row) + "\n" for row in drawn[:PROMPTS]))
    bare = "".join(json.dumps({"question": row["question"]}) + "\n" for row in drawn[PROMPTS:])
    with atomic_path(folder / "unlabelled.jsonl.gz") as file:
        file.write_bytes(gzip.compress(bare.encode(), compresslevel=9, mtime=0))


def prompts(count: int = PROMPTS, seed: int = 0) -> Iterator[dict[str, str]]:
    """Problems with their answers, no two the same."""
    rng = random.Random(seed)
    seen: set[str] = set()
    while len(seen) < count:
        problem = draw_problem(rng)
        if problem.prompt not in seen:
            seen.add(problem.prompt)
            yield {"question": problem.prompt, "answer": str(problem.answer)}


def train_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of the problems' text that reads numbers digit by digit, with a chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    rng, texts = random.Random(1), []
    for _ in range(2000):
        problem = draw_problem(rng)
        texts += [problem.prompt, write_solution(problem, rng)]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|pad|>", "<|end|>", "<|user|>", "<|assistant|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=384, initial_alphabet=alphabet, special_tokens=special)
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<|pad|>", eos_token="<|end|>", padding_side="left"
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def train(
    tokenizer: PreTrainedTokenizerFast, recipe: Recipe, name: str, *, steps: int | None = None
) -> tuple[LlamaForCausalLM, list[float]]:
    """Train a model from random weights on problems drawn afresh at every step, on the solutions' tokens alone.

    Args:
        tokenizer: What `train_tokenizer` returns.
        recipe: Size and training.
        name: Name in the progress lines.
        steps: Stop after so many of the recipe's steps.

    Returns:
        The model and the loss of each step, nats a response token.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from retort.modeling.batch import pad_batch
    from retort.modeling.chat import prompt_ids, response_ids

    torch.manual_seed(recipe.seed)
    rng = random.Random(recipe.seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=recipe.hidden_size,
            intermediate_size=3 * recipe.hidden_size,
            num_hidden_layers=recipe.layers,
            num_attention_heads=recipe.heads,
            max_position_embeddings=256,
            tie_word_embeddings=True,
            # The usual 0.02 suits widths in the thousands; at these, it makes learning several times slower.
            initializer_range=0.06,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=None,
        )
    )
    pad = tokenizer.pad_token_id
    assert isinstance(pad, int), "train_tokenizer sets a pad token"
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=0.0, betas=(0.9, 0.98))
    losses = []
    total = steps or recipe.steps
    with Progress(name, total=total, unit="steps") as progress:
        for step in range(total):
            drawn = [draw_problem(rng) for _ in range(recipe.batch_size)]
            batch = pad_batch(
                [prompt_ids(tokenizer, problem.prompt) for problem in drawn],
                [response_ids(tokenizer, write_solution(problem, rng)) for problem in drawn],
                pad,
            )
            loss = _loss(model, batch)
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate * min(1, (step + 1) / 50) * (1 - 0.9 * step / recipe.schedule)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            losses.append(loss.item())
            progress.update(loss=losses[-1])
    return model.eval(), losses


def _loss(model: LlamaForCausalLM, batch: TokenBatch) -> Tensor:
    """Cross-entropy, nats a response token.

    On its own and padded, because training from random weights is chaotic: the same sum in another order, as packed
    rows would give it, ends in other models than those that are shipped.
    """
    import torch

    logits = model(input_ids=batch.ids_BT, attention_mask=batch.attention_mask_BT, use_cache=False).logits
    rows, columns = batch.response_mask_BT[:, 1:].nonzero(as_tuple=True)
    picked = logits[rows, columns].float()
    found = picked.gather(1, batch.ids_BT[rows, columns + 1][:, None]).squeeze(1) - picked.logsumexp(dim=1)
    whole = torch.zeros(batch.ids_BT.shape).index_put((rows, columns + 1), found)
    return -whole.sum() / batch.response_mask_BT.sum()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
