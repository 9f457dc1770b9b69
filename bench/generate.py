"""Retort's sampler against other ways to generate: `python -m bench.generate [--json] [--model FOLDER]`.

The same requests, of a real spread of lengths, at temperature 1, for a model of SmolLM2-135M's shape on this machine's
CPU, in one thread: `--prompts` prompts of 30 to 90 tokens, `--samples` responses to each. Sides:

- `retort`: Retort's sampler, `--rows` rows at once: rows that finish make place, a prompt is read once.
- `generate`: `model.generate` of transformers in static batches of `--rows`, prompts of like length together.
- `continuous`: transformers' own continuous batching (`generate_batch`).
- `vllm`: `vllm serve`, with `--vllm PROGRAM` and `--model`.

Without `--model` weights are random, and a response ends with probability 1/32 a token, after 128 at the latest:
lengths spread geometrically, as far as their mean. With it, prompts are questions to that chat model, and lengths are
its own.

Counted are response tokens per second of processor time, of the processes that generate, because a busy machine's wall
time says little; loading and the first tokens of each side are left out. `tokens_per_s_ratio` is Retort's rate by
`generate`'s. A side that is not done after `--limit` seconds of processor time is given up and said so.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.surroundings import show, surroundings

SHAPE: dict[str, Any] = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": False,
}
"""SmolLM2-135M's, but for the head, which has a bias here that ends responses."""
PAD, END = 0, 2
NEW_TOKENS = 128
END_PROBABILITY = 1 / 32
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
"""In which Linux counts another process's processor time: less than one tick is told as none."""
QUESTIONS = (
    "What is {} + {}?",
    "Sam has {} hats and buys {} more. How many hats does Sam have now? Explain each step.",
    "Name {} animals that have more than {} legs.",
    "Write {} sentences about a town with {} houses.",
)


@dataclass(frozen=True)
class Work:
    """What every side is asked."""

    model: Any
    prompts: list[list[int]]
    """Each as often as it is answered, its responses next to each other."""
    texts: list[str]
    """The same as text, where there is a tokenizer."""
    ends: list[int]
    pad: int
    rows: int


class OutOfTimeError(Exception):
    """A side took too long."""


def main() -> None:
    """Measure every side and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=16, help="different prompts (default 16)")
    parser.add_argument("--samples", type=int, default=8, help="responses to each (default 8)")
    parser.add_argument("--rows", type=int, default=32, help="rows at once (default 32)")
    parser.add_argument("--repeats", type=int, default=1, help="measurements of each side (default 1)")
    parser.add_argument("--limit", type=int, default=600, help="most seconds of processor time a side (default 600)")
    parser.add_argument("--sides", default="retort,generate,continuous", help="sides to measure, by commas")
    parser.add_argument("--model", type=Path, help="folder of a chat model instead of random weights")
    parser.add_argument("--vllm", help="program `vllm`, for the side of that name")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    arguments = parser.parse_args()
    found = measure(arguments)
    rows = [
        [name, str(one["tokens"]), f"{one['tokens_per_cpu_s']:.1f}" if one["tokens_per_cpu_s"] else one["why"]]
        for name, one in found["sides"].items()
    ]
    show(found, ["side", "tokens", "tokens a CPU second"], rows, as_json=arguments.json)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Tokens by CPU second of every side, and how many times `generate`'s Retort's are."""
    import torch

    torch.set_num_threads(1)
    work = make_work(arguments)
    sides: dict[str, Callable[[Work, int], list[int]]] = {
        "retort": retort_side,
        "generate": generate_side,
        "continuous": continuous_side,
    }
    wanted = {name: sides[name] for name in arguments.sides.split(",")}
    found = {name: _measured(name, side, time.process_time, work, arguments) for name, side in wanted.items()}
    if arguments.vllm:
        from bench.generate_vllm import VLLMSide

        if arguments.model is None:
            raise SystemExit("--vllm serves a folder: give --model")
        with VLLMSide(arguments.vllm, arguments.model, work, NEW_TOKENS) as served:
            found["vllm"] = _measured("vllm", served, served.cpu_s, work, arguments)
    rates = {name: one["tokens_per_cpu_s"] for name, one in found.items()}
    return {
        "benchmark": "generate",
        "surroundings": surroundings("torch", "transformers"),
        "requests": len(work.prompts),
        "rows": work.rows,
        "model": str(arguments.model or "random weights of SmolLM2-135M's shape"),
        "sides": found,
        "tokens_per_s_ratio": rates["retort"] / rates["generate"]
        if rates.get("retort") and rates.get("generate")
        else None,
    }


def _measured(
    name: str,
    side: Callable[[Work, int], list[int]],
    clock: Callable[[], float],
    work: Work,
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    rates, lengths = [], []
    try:
        side(replace(work, prompts=work.prompts[:1], texts=work.texts[:1]), 0)  # what is done once a process
        with limited(arguments.limit):
            for seed in range(arguments.repeats):
                start = clock()
                lengths = side(work, seed)
                rates.append(sum(lengths) / max(clock() - start, TICK_S))
    except OutOfTimeError:
        return {"tokens": 0, "tokens_per_cpu_s": None, "why": f"not done after {arguments.limit} CPU s"}
    except Exception as error:  # a side of another library that fails is a row of the table
        if name == "retort":
            raise
        return {"tokens": 0, "tokens_per_cpu_s": None, "why": f"failed: {str(error)[:200]}"}
    return {
        "tokens": sum(lengths),
        "tokens_per_cpu_s": statistics.median(rates),
        "low": min(rates),
        "high": max(rates),
        "mean_length": statistics.mean(lengths),
        "deviation_of_length": statistics.pstdev(lengths),
    }


@contextlib.contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Raise OutOfTimeError after so many seconds of this process's processor time."""

    def stop(*_: object) -> None:
        raise OutOfTimeError

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def make_work(arguments: argparse.Namespace) -> Work:
    """Model and prompts."""
    rng = random.Random(0)  # noqa: S311 - prompts of a benchmark
    if arguments.model is None:
        model: Any = make_model()
        distinct = [
            [rng.randrange(3, int(SHAPE["vocab_size"])) for _ in range(rng.randrange(30, 90))]
            for _ in range(arguments.prompts)
        ]
        ends, pad, texts = [END], PAD, [""] * arguments.prompts
    else:
        from retort.modeling.chat import prompt_ids
        from retort.modeling.loading import load_model, load_tokenizer
        from retort.modeling.turns import end_ids

        tokenizer, model = load_tokenizer(arguments.model), load_model(arguments.model, dtype="float32")
        distinct = [
            prompt_ids(tokenizer, QUESTIONS[n % len(QUESTIONS)].format(rng.randrange(2, 50), rng.randrange(2, 50)))
            for n in range(arguments.prompts)
        ]
        ends, pad = list(end_ids(tokenizer, model)), int(str(tokenizer.pad_token_id))
        texts = [str(tokenizer.decode(one)) for one in distinct]
    every = [place for place in range(arguments.prompts) for _ in range(arguments.samples)]
    return Work(model, [distinct[n] for n in every], [texts[n] for n in every], ends, pad, arguments.rows)


def make_model() -> Any:
    """Random weights, that end a response with END_PROBABILITY at every token and never write padding."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(**SHAPE, pad_token_id=PAD, bos_token_id=None, eos_token_id=END)
    model: Any = LlamaForCausalLM(config).eval()
    head = torch.nn.Linear(config.hidden_size, config.vocab_size)
    with torch.no_grad():
        head.weight.copy_(model.lm_head.weight)
        head.bias.zero_()
        odds = END_PROBABILITY / (1 - END_PROBABILITY)
        head.bias[END] = torch.tensor(odds * (config.vocab_size - 2)).log()
        head.bias[PAD] = -1e9
    model.lm_head = head
    return model


def retort_side(work: Work, seed: int) -> list[int]:
    """Lengths of the responses that Retort's sampler writes."""
    import torch

    from retort.engines.sampler import sample

    samples = sample(
        work.model,
        work.prompts,
        temperature=1.0,
        max_new_tokens=NEW_TOKENS,
        eos_token_id=work.ends,
        pad_token_id=work.pad,
        generator=torch.Generator().manual_seed(seed),
        batch_size=work.rows,
    )
    return [len(one.ids) for one in samples]


def generate_side(work: Work, seed: int) -> list[int]:
    """The same by `model.generate`, batch after batch, longest prompts first."""
    import torch

    torch.manual_seed(seed)
    order = sorted(work.prompts, key=len, reverse=True)
    lengths: list[int] = []
    for first in range(0, len(order), work.rows):
        batch = order[first : first + work.rows]
        width = len(batch[0])
        ids = torch.tensor([[work.pad] * (width - len(prompt)) + prompt for prompt in batch])
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in batch])
        with torch.inference_mode():
            found = work.model.generate(
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=NEW_TOKENS,
                do_sample=True,
                temperature=1.0,
                top_k=0,
                top_p=1.0,
                eos_token_id=work.ends,
                pad_token_id=work.pad,
            )
        lengths += [until_end(row, work.ends) for row in found[:, width:].tolist()]
    return lengths


def until_end(ids: list[int], ends: list[int]) -> int:
    """Tokens up to the one that ended a response, that one included."""
    return next((place + 1 for place, token in enumerate(ids) if token in ends), len(ids))


def continuous_side(work: Work, seed: int) -> list[int]:
    """The same by transformers' continuous batching."""
    import torch
    from transformers import GenerationConfig

    torch.manual_seed(seed)
    settings = GenerationConfig(
        max_new_tokens=NEW_TOKENS,
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        eos_token_id=work.ends,
        pad_token_id=work.pad,
    )
    with torch.inference_mode():
        found: Any = work.model.generate_batch(inputs=work.prompts, generation_config=settings)
    if len(found) < len(work.prompts):
        raise RuntimeError(f"answered {len(found)} of {len(work.prompts)} requests")
    return [len(one.generated_tokens) for one in found.values()]


if __name__ == "__main__":
    main()
