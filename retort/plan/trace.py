"""What a pass over a model needs beside its weights, found by running it on fake tensors.

The model's own code runs with tensors that have a shape and a type but no storage (torch's FakeTensorMode) while every
allocation is counted, so activations, recomputation, adapters and attention kernels of any architecture are
those of the real pass. Sequences are taken at their longest: nothing ends early.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from retort.config.training import LoraConfig
from retort.plan.live import LiveBytes

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import PreTrainedConfig

Precision = Literal["float32", "bfloat16"]


_TILE = 32_768
"""Columns of the vocabulary that TRL's loss scores at once."""


@dataclass(frozen=True)
class Bytes:
    """Bytes on the device by what they hold."""

    weights: int = 0
    gradients: int = 0
    optimizer: int = 0
    activations: int = 0
    """Hidden states kept for the backward pass, and what is alive in the middle of an operation."""
    cache: int = 0
    """Keys and values of the sequences that are being generated."""
    logits: int = 0
    """Scores over the vocabulary, and in training their gradient."""

    @property
    def total(self) -> int:
        """All of them."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.cache + self.logits

    def __add__(self, other: Bytes) -> Bytes:
        """Both at once."""
        return Bytes(**{name: getattr(self, name) + getattr(other, name) for name in Bytes.__dataclass_fields__})


@dataclass(frozen=True)
class Model:
    """A model as a stage loads it; hashable, so that equal passes are traced once."""

    config_json: str
    dtype: Precision
    lora: str | None = None
    """Adapters as JSON; with them the weights themselves are frozen."""
    checkpointing: bool = False
    """Recompute activations in the backward pass."""

    @property
    def config(self) -> PreTrainedConfig:
        """The model's configuration."""
        return _parsed(self.config_json)

    @property
    def vocabulary(self) -> int:
        """Rows of the embedding."""
        return int(self.config.vocab_size)

    def frozen(self) -> Model:
        """The same model as a judge or reference."""
        return replace(self, lora=None, checkpointing=False)


def describe(
    config: PreTrainedConfig, dtype: Precision, *, lora: LoraConfig | None = None, checkpointing: bool = False
) -> Model:
    """`config` as a `Model`."""
    text = config.to_json_string(use_diff=False)
    return Model(text, dtype, lora.model_dump_json() if lora else None, checkpointing)


@cache
def _parsed(text: str) -> PreTrainedConfig:
    import json

    from transformers import AutoConfig

    values = json.loads(text)
    config: PreTrainedConfig = AutoConfig.for_model(values.pop("model_type"), **values)
    return config


@contextmanager
def _fake(model: Model) -> Iterator[Any]:
    """The model with fake weights, inside the mode in which everything is fake."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    from retort.modeling.lora import recompute_activations, with_adapters
    from retort.plan.shapes import on_meta

    made: Any = on_meta(model.config, model.dtype)
    if model.checkpointing:
        made.activation_checkpointing_enable()
    with torch.device("meta"):
        made = with_adapters(made, LoraConfig.model_validate_json(model.lora) if model.lora else None)
    if model.checkpointing:
        recompute_activations(made)
    with FakeTensorMode():
        _from_meta(made)
        yield made


def _from_meta(made: torch.nn.Module) -> None:
    """Give every parameter and buffer a fake storage on the CPU; on the meta device other attention kernels run."""
    import torch

    new: dict[int, torch.Tensor] = {}  # tied parameters stay tied
    for module in made.modules():
        for name, old in [*module._parameters.items(), *module._buffers.items()]:
            if old is None:
                continue
            if id(old) not in new:
                empty = torch.empty(old.shape, dtype=old.dtype, device="cpu")
                kept = isinstance(old, torch.nn.Parameter)
                new[id(old)] = torch.nn.Parameter(empty, requires_grad=old.requires_grad) if kept else empty
            (module._parameters if name in module._parameters else module._buffers)[name] = new[id(old)]  # type: ignore[assignment]


@cache
def weights(model: Model) -> Bytes:
    """Weights, and the gradients and Adam moments of those that train."""
    with _fake(model) as made:
        held = sum(p.nbytes for p in made.parameters()) + sum(b.nbytes for b in made.buffers())
        trained = sum(p.nbytes for p in made.parameters() if p.requires_grad)
    return Bytes(weights=held, gradients=trained, optimizer=2 * trained)


@cache
def units(model: Model) -> tuple[int, int]:
    """Bytes of the weights outside decoder layers, and of those in the largest layer."""
    from retort.modeling.fsdp import decoder_layers

    with _fake(model) as made:
        layers = [sum(p.nbytes for p in layer.parameters()) for layer in decoder_layers(made)]
        return sum(p.nbytes for p in made.parameters()) - sum(layers), max(layers, default=0)


@cache
def parameters(model: Model) -> int:
    """Number of parameters without adapters, tied ones counted once."""
    with _fake(model.frozen()) as made:
        return sum(p.numel() for p in made.parameters())


@cache
def packed(
    model: Model, *, sequences: int, responses_per_prompt: int, prompt: int, response: int
) -> tuple[int, int, int]:
    """Rows, their width, and response tokens in each, of the longest sequences as `retort.modeling.packing` lays them.

    The responses to one prompt share a copy of it where the model allows it.
    """
    from retort.modeling.abilities import abilities_of
    from retort.modeling.packing import layout
    from retort.plan.shapes import on_meta

    share = responses_per_prompt if abilities_of(on_meta(model.config, model.dtype)).shares else 1
    groups = [list(range(first, min(first + share, sequences))) for first in range(0, sequences, share)]
    found = layout(groups, [prompt] * sequences, [response] * sequences, model.config.hidden_size)
    return found.rows, found.width, math.ceil(sequences * response / found.rows)


@cache
def training_pass(
    model: Model,
    *,
    rows: int,
    width: int,
    scored: int,
    read: Literal["logprobs", "states", "loss"],
    autocast: bool = False,
) -> Bytes:
    """Forward and backward pass of a microbatch, gradients included.

    Args:
        model: What trains.
        rows: Sequences of the microbatch.
        width: Tokens of each.
        scored: Response tokens of each.
        read: What is read: log-probabilities of response tokens, hidden states, or the loss as TRL's SFT trainer
            takes it, tile by tile of the vocabulary; over all positions, though on a GPU it leaves prompts out.
        autocast: Multiply in bfloat16 whatever the weights' type, as the SFT trainer does on a GPU.
    """
    import torch

    def run(made: Any) -> None:
        with torch.autocast("cpu", torch.bfloat16) if autocast else nullcontext():
            loss = _read(made, rows, width, scored, read)
        loss.backward()

    size = 2 if autocast or model.dtype == "bfloat16" else 4
    if read == "loss":
        logits = rows * width * min(model.vocabulary, _TILE) * size
    else:
        logits = 2 * rows * scored * model.vocabulary * size if read == "logprobs" else 0
    gradients = weights(model).gradients
    return _split(_peak(model, run), gradients=gradients, logits=logits)


@cache
def scoring_pass(
    model: Model, *, rows: int, width: int, scored: int, read: Literal["logprobs", "states"] = "logprobs"
) -> Bytes:
    """Forward pass without gradient."""
    import torch

    def run(made: Any) -> None:
        with torch.no_grad():
            _read(made, rows, width, scored, read)

    size = 2 if model.dtype == "bfloat16" else 4
    return _split(_peak(model, run), logits=rows * scored * model.vocabulary * size if read == "logprobs" else 0)


@cache
def generation(model: Model, *, rows: int, prompts: int, prompt: int, response: int, top_p: float = 1.0) -> Bytes:
    """Sampling `rows` responses at once to `prompts` different prompts, at their longest.

    Its peak is the larger of reading the prompts and of the last step, in which rows are taken out of a full cache.
    """
    import torch

    from retort.engines.sampler import choose
    from retort.modeling.cache import block_cache

    def step(made: Any, ids: Tensor, kept: Any) -> None:
        logits = made(input_ids=ids, past_key_values=kept, use_cache=True, logits_to_keep=1).logits[:, -1]
        choose(logits, 1.0, top_p, torch.rand(len(ids)))

    def read_prompts(made: Any) -> None:
        with torch.inference_mode():
            step(made, torch.zeros(prompts, prompt, dtype=torch.long), block_cache(model.config))

    def last_step(made: Any) -> None:
        with torch.inference_mode():
            full = block_cache(model.config)
            for layer, shape in enumerate(_cache_shapes(model.config)):
                heads, size = shape
                keys = torch.zeros(rows, heads, prompt + response - 1, size, dtype=getattr(torch, model.dtype))
                full.update(keys, torch.zeros_like(keys), layer)
                del keys
            full.batch_select_indices(torch.zeros(rows, dtype=torch.long))
            step(made, torch.zeros(rows, 1, dtype=torch.long), full)

    size = 2 if model.dtype == "bfloat16" else 4
    columns = prompt + response
    held = sum(2 * heads * head * columns * rows * size for heads, head in _cache_shapes(model.config))
    first = _split(_peak(model, read_prompts), logits=prompts * model.vocabulary * size)
    last = _split(_peak(model, last_step), cache=held, logits=rows * model.vocabulary * size)
    return max(first, last, key=lambda found: found.total)


def _cache_shapes(config: PreTrainedConfig) -> list[tuple[int, int]]:
    """Heads of keys and values, and their size, of each layer."""
    heads = int(getattr(config, "num_key_value_heads", None) or config.num_attention_heads)
    size = int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)
    return [(heads, size)] * int(config.num_hidden_layers)


def cache_bytes_per_token(model: Model) -> int:
    """Keys and values of one token."""
    size = 2 if model.dtype == "bfloat16" else 4
    return sum(2 * heads * head * size for heads, head in _cache_shapes(model.config))


def _read(made: Any, rows: int, width: int, scored: int, read: str) -> torch.Tensor:
    import torch

    from retort.modeling.logprobs import chosen_logprobs

    ids = torch.zeros(rows, width, dtype=torch.long)
    trunk = made.get_base_model() if hasattr(made, "get_base_model") else made  # adapters are in its layers
    if read == "loss":
        from trl.trainer.utils import add_fused_lm_head

        add_fused_lm_head(trunk, outputs=("log_probs", "entropy", "is_top1"))
        loss: Tensor = made(input_ids=ids, labels=ids, fused_lm_head=True).loss
        return loss
    places = torch.zeros(rows, scored, dtype=torch.long)
    if read == "states":
        hidden = trunk.base_model(input_ids=ids, use_cache=False).last_hidden_state
        picked = torch.take_along_dim(hidden, places[..., None], dim=1).float()
        return picked.square().mean(dim=2).sum()
    logits = made(input_ids=ids, use_cache=False, logits_to_keep=places).logits.flatten(0, 1)
    return chosen_logprobs(logits, places.flatten(), torch.arange(rows * scored), entropy=True)[0].sum()


def _peak(model: Model, run: Callable[[Any], None]) -> int:
    """Most bytes alive at once beside the weights."""
    with _fake(model) as made, LiveBytes() as live:
        live.hold([*made.parameters(), *made.buffers()])
        before = live.now
        live.forget_peak()
        run(made)
    return int(live.peak - before)


def _split(peak: int, *, gradients: int = 0, cache: int = 0, logits: int = 0) -> Bytes:
    """A measured peak as what is known of it by arithmetic, and the rest."""
    rest = peak - gradients - cache - logits
    if rest < 0:  # not all of it is alive at the peak
        logits = max(0, logits + rest)
        rest = max(0, peak - gradients - cache - logits)
    return Bytes(gradients=gradients, cache=cache, logits=logits, activations=rest)
