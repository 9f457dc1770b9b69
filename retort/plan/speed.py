"""How long work takes: FLOPs against the device's peak, and decoding steps against its memory's bandwidth."""

from __future__ import annotations

from dataclasses import dataclass

from retort.plan import trace
from retort.plan.assumptions import Assumptions
from retort.plan.devices import Device
from retort.plan.trace import Model


@dataclass(frozen=True)
class Work:
    """Tokens and FLOPs of a stage."""

    generated: float = 0.0
    """Tokens of sampled responses."""
    read: float = 0.0
    """Tokens that go through a model without gradient, many at once: prompts, and responses that are scored."""
    trained: float = 0.0
    """Tokens that are trained on, once an epoch."""
    decoding_flops: float = 0.0
    reading_flops: float = 0.0
    training_flops: float = 0.0

    @property
    def flops(self) -> float:
        """All of them."""
        return self.decoding_flops + self.reading_flops + self.training_flops

    def __add__(self, other: Work) -> Work:
        """Both."""
        return Work(**{name: getattr(self, name) + getattr(other, name) for name in Work.__dataclass_fields__})

    def passes_s(self, device: Device, assume: Assumptions, dtype: str, *, checkpointing: bool = False) -> float:
        """Seconds of all passes over whole sequences; recomputing activations makes three parts of training four."""
        training = self.training_flops * (4 / 3 if checkpointing else 1)
        return (self.reading_flops + training) / (device.peak(dtype) * assume.mfu)


def answers(model: Model, count: float, new_tokens: int, assume: Assumptions) -> Work:
    """Sampling `count` responses."""
    prompt, response = count * assume.prompt_tokens, count * assume.response(new_tokens)
    each = 2.0 * trace.parameters(model)
    return Work(generated=response, read=prompt, decoding_flops=each * response, reading_flops=each * prompt)


def batch_s(model: Model, rows: int, new_tokens: int, device: Device, assume: Assumptions) -> float:
    """Seconds of decoding a batch: its longest response reaches the limit, the others leave as they end."""
    live = max(1.0, rows * assume.response_share)
    mean = assume.prompt_tokens + assume.response(new_tokens)
    return new_tokens * step_s(model, live, mean, device, assume, overhead_s=assume.step_overhead_s)


def step_s(
    model: Model, rows: float, tokens: float, device: Device, assume: Assumptions, *, overhead_s: float
) -> float:
    """Seconds of a step that adds one token to each of `rows` sequences of `tokens` tokens.

    Weights and cache are read once; the products take the time of their FLOPs where there are many rows.
    """
    read = trace.weights(model).weights + rows * tokens * trace.cache_bytes_per_token(model)
    moved = read / (device.bandwidth_tb * 1e12 * assume.bandwidth_share)
    computed = 2.0 * trace.parameters(model) * rows / (device.peak(model.dtype) * assume.mfu)
    return max(moved, computed) + overhead_s
