"""What of a model's bytes lies on one GPU where several processes shard it (`retort.modeling.fsdp`)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from retort.plan import trace
from retort.plan.trace import Bytes, Model


@dataclass(frozen=True)
class Sharing:
    """Processes that share what one of them trains; with one, nothing is cut up."""

    processes: int

    def share(self, size: int) -> int:
        """Bytes of one process's part, the largest."""
        return math.ceil(size / self.processes)

    def held(self, model: Model) -> Bytes:
        """Weights and optimizer states between passes."""
        found = trace.weights(model)
        return Bytes(weights=self.share(found.weights), optimizer=self.share(found.optimizer))

    def training(self, found: Bytes, model: Model) -> Bytes:
        """A training pass, of which `found` is what one process alone needs.

        Beside the shares, embedding and head are whole from the forward pass to the end of the backward pass, with
        their gradients; so are a decoder layer, the one that is fetched meanwhile, and gradients of one.
        """
        if self.processes == 1:
            return found
        rest, layer = trace.units(model)
        gradients = self.share(found.gradients) + rest + layer - found.gradients
        return found + Bytes(weights=rest + 2 * layer, gradients=gradients)

    def gathered(self, *models: Model) -> Bytes:
        """What whole weights take beside the shares: so they are in passes without gradient."""
        sizes = [trace.weights(model).weights for model in models]
        return Bytes(weights=sum(size - self.share(size) for size in sizes))
