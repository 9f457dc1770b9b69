"""Whether what samples computes with the weights that are trained: samples after each update, and every rollout.

A sampler with other weights is worse than none: PPO would learn from samples of a policy that it does not have, and no
curve would say so. A weight update that reports success can be wrong: a tied matrix that is left as it was, an adapter
that was not put in, keys and values that old weights computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from retort.errors import TrainingError

if TYPE_CHECKING:
    from retort.engines.sampler import Sample

_NOTICED = 0.01
"""Share of the bound by which the trainer's own log-probabilities must move before the sampler's have to as well."""
_STALE = 0.1
"""Share of the trainer's movement that a sampler with its weights exceeds, and one with older weights does not."""


class Canary:
    """Compares the log-probabilities of sampler and trainer."""

    def __init__(self, bound: float, place: str) -> None:
        """Nothing is compared yet.

        Args:
            bound: Mean difference in nats a token that rounding does not explain.
            place: Where the configuration describes the sampler, for messages.
        """
        self._bound, self._place = bound, place
        self._before: tuple[list[list[int]], Tensor, Tensor] | None = None

    def check_samples(self, samples: Sequence[Sample], ours: Sequence[Sequence[float]]) -> float:
        """Compare samples that were drawn just after an update, always to the same prompts with the same seeds.

        Args:
            samples: The samples, with the sampler's log-probabilities.
            ours: The trainer's log-probabilities of their tokens.

        Returns:
            Their mean difference.

        Raises:
            TrainingError: it is larger than rounding explains, or the sampler's stayed while the trainer's moved.
        """
        ids = [sample.ids for sample in samples]
        sampler, trainer = _flat([sample.logprobs for sample in samples]), _flat(ours)
        difference = _distance(sampler, trainer)
        self._check(difference, "on samples that it drew just after its weights were updated")
        if self._before is None or self._before[0] != ids:  # other tokens from the same seeds: other weights
            self._before = ids, sampler, trainer
            return difference
        moved, followed = _distance(trainer, self._before[2]), _distance(sampler, self._before[1])
        if moved > _NOTICED * self._bound:
            if followed < _STALE * moved:
                raise TrainingError(
                    f"{self._place}: the sampler still has old weights: since an earlier update the trainer's "
                    f"log-probabilities of samples from the same seeds moved by {moved:.2g} nats a token, the "
                    f"sampler's by {followed:.2g}. {self._remedy()}"
                )
            # Movements too small to be noticed add up until they are.
            self._before = ids, sampler, trainer
        return difference

    def check_rollout(self, difference: float) -> None:
        """Compare a rollout before anything is learned from it.

        Args:
            difference: Mean difference of the log-probabilities of its tokens, in nats.

        Raises:
            TrainingError: it is larger than rounding explains.
        """
        self._check(difference, "on the tokens of a rollout")

    def _check(self, difference: float, where: str) -> None:
        if not difference <= self._bound:  # NaN too
            raise TrainingError(
                f"{self._place}: the sampler's log-probabilities differ from the trainer's by {difference:.2g} nats a "
                f"token in the mean {where}; {self._bound:g} is allowed. It computes with other weights or in another "
                f"way, and PPO would learn from another policy's samples. {self._remedy()}"
            )

    def _remedy(self) -> str:
        return (
            "Training goes on from its last checkpoint with a new server; if that ends alike, take rollout_engine: "
            "{type: transformers}, or another version of vLLM. If rounding alone differs so much on your GPU, raise "
            "rollout_engine.max_difference."
        )


def _flat(rows: Sequence[Sequence[float]]) -> Tensor:
    return torch.tensor([value for row in rows for value in row], dtype=torch.float64)


def _distance(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().mean())
