"""Retort's sampler against `generate` of transformers: `python -m bench.sampler [--json] [--repeats 5]`.

Both sample from the same Llama-architecture model with random weights (4 layers, hidden size 128, 1,024 tokens,
float32) on this machine's CPU, at temperature 1, in batches of 256 left-padded rows, up to 64 new tokens, from the
same prompts of 20 to 49 tokens. Counted are the response tokens, end token included, per second of wall time; what is
compared is the median of the repeats, taken in turns, and the ratio of the medians. Cases:

- `full length`: no row ends before 64 tokens, every prompt is different: what a decoding step costs.
- `rows end`: a row ends with probability 1/16 a token, as responses do that differ in length: `generate` carries
  finished rows on to the batch's end, the sampler takes them out.
- `rows end, 8 a prompt`: and every prompt is asked eight times, as for votes and PPO: the sampler reads a prompt once.

The sampler also returns every token's log-probability, which `generate` is not asked for.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.surroundings import show, surroundings

if TYPE_CHECKING:
    from transformers import PreTrainedModel

VOCABULARY, PAD, END = 1024, 0, 1
ROWS, NEW_TOKENS = 256, 64


@dataclass(frozen=True)
class Case:
    """One comparison."""

    name: str
    end_probability: float
    responses_per_prompt: int


CASES = (
    Case("full length", 0.0, 1),
    Case("rows end", 1 / 16, 1),
    Case("rows end, 8 a prompt", 1 / 16, 8),
)


def main() -> None:
    """Measure every case and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="measurements of each side (default 3)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    arguments = parser.parse_args()
    cases = {case.name: measure(case, arguments.repeats) for case in CASES}
    found = {"benchmark": "sampler", "surroundings": surroundings("torch", "transformers"), "cases": cases}
    rows = [
        [name, *(_rate(one[side]) for side in ("retort", "transformers")), f"{one['ratio']:.2f}"]
        for name, one in cases.items()
    ]
    show(found, ["case", "Retort, tokens/s", "generate, tokens/s", "ratio"], rows, as_json=arguments.json)


def measure(case: Case, repeats: int) -> dict[str, Any]:
    """Response tokens per second of both, and their ratio."""
    model = make_model(case.end_probability)
    rng = random.Random(0)  # noqa: S311 - prompts of a benchmark
    distinct = [
        [rng.randrange(2, VOCABULARY) for _ in range(rng.randrange(20, 50))]
        for _ in range(ROWS // case.responses_per_prompt)
    ]
    prompts = [prompt for prompt in distinct for _ in range(case.responses_per_prompt)]
    sides: dict[str, Callable[[int, int], int]] = {
        "retort": lambda seed, tokens: _retort(model, prompts, seed, tokens),
        "transformers": lambda seed, tokens: _generate(model, prompts, seed, tokens),
    }
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for side in sides.values():
        side(0, 2)  # what is done once a process
    for seed in range(repeats):
        for name, side in sides.items():  # in turns, so that a change of the machine's load meets both
            start = time.perf_counter()
            count = side(seed, NEW_TOKENS)
            rates[name].append(count / (time.perf_counter() - start))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    return {
        **{
            name: {"tokens_per_second": medians[name], "low": min(values), "high": max(values), "n": repeats}
            for name, values in rates.items()
        },
        "ratio": medians["retort"] / medians["transformers"],
    }


def make_model(end_probability: float) -> PreTrainedModel:
    """A model of random weights that ends a response with about this probability at every token."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=256,
        pad_token_id=PAD,
        bos_token_id=None,
        eos_token_id=END,
        tie_word_embeddings=False,
    )
    model: Any = LlamaForCausalLM(config).eval()
    # Scores are close to uniform; a bias gives the end token its probability. Padding is never sampled: in what
    # `generate` returns, it stands for "nothing".
    head = torch.nn.Linear(config.hidden_size, VOCABULARY)
    with torch.no_grad():
        head.weight.copy_(model.lm_head.weight)
        head.bias.zero_()
        odds = end_probability / (1 - end_probability)
        head.bias[END] = torch.tensor(odds * (VOCABULARY - 2)).log() if odds else -1e9
        head.bias[PAD] = -1e9
    model.lm_head = head
    found: PreTrainedModel = model
    return found


def _retort(model: PreTrainedModel, prompts: list[list[int]], seed: int, tokens: int) -> int:
    import torch

    from retort.engines.sampler import sample

    samples = sample(
        model,
        prompts,
        temperature=1.0,
        max_new_tokens=tokens,
        eos_token_id=END,
        pad_token_id=PAD,
        generator=torch.Generator().manual_seed(seed),
        batch_size=ROWS,
    )
    return sum(len(one.ids) for one in samples)


def _generate(model: Any, prompts: list[list[int]], seed: int, tokens: int) -> int:
    import torch

    torch.manual_seed(seed)
    order = sorted(prompts, key=len, reverse=True)
    width = len(order[0])
    ids = torch.tensor([[PAD] * (width - len(prompt)) + prompt for prompt in order])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in order])
    with torch.inference_mode():
        found = model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=tokens,
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            eos_token_id=END,
            pad_token_id=PAD,
        )
    return int((found[:, width:] != PAD).sum())


def _rate(side: dict[str, float]) -> str:
    return f"{side['tokens_per_second']:,.0f} ({side['low']:,.0f} to {side['high']:,.0f})"


if __name__ == "__main__":
    main()
