"""Several processes that train one model, one a device, as a launcher starts them; one alone is a group of one.

Each process computes a share of every batch. What they compute is put together before anything is decided, so that
all of them hold the same weights and figures all the time; the first one alone writes files.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from torch import Tensor, nn

T = TypeVar("T")


def process_group() -> ProcessGroup:
    """The group that this process is one of; joins it at the first call."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return ProcessGroup()
    import torch
    from accelerate import PartialState

    state = PartialState(cpu=not torch.cuda.is_available())
    return ProcessGroup(state.process_index, state.num_processes)


@dataclass(frozen=True)
class ProcessGroup:
    """Processes by number; with one, every method returns what it is given."""

    rank: int = 0
    size: int = 1

    def shard(self, count: int) -> slice:
        """The part of this process of `count` things: neighbours, as many as the others' or one more."""
        return slice(self.rank * count // self.size, (self.rank + 1) * count // self.size)

    def gather(self, items: Sequence[T]) -> list[T]:
        """Everyone's items, in order of the processes."""
        if self.size == 1:
            return list(items)
        from torch import distributed

        found: list[Any] = [None] * self.size
        distributed.all_gather_object(found, list(items))
        return [item for part in found for item in part]

    def gather_rows(self, rows: Tensor) -> Tensor:
        """Everyone's rows (the first dimension) one after another; other dimensions are equal."""
        if self.size == 1:
            return rows
        import torch

        device = rows.device
        return torch.cat([part.to(device) for part in self.gather([rows.cpu()])])

    def from_first(self, compute: Callable[[], T]) -> T:
        """What `compute` gives in the first process, which alone calls it: to ask an endpoint once, say."""
        if self.size == 1:
            return compute()
        from torch import distributed

        found = [compute() if self.rank == 0 else None]
        distributed.broadcast_object_list(found, src=0)
        return found[0]  # type: ignore[return-value]

    def wait(self) -> None:
        """Go on when all processes are here."""
        if self.size > 1:
            from torch import distributed

            distributed.barrier()

    def any(self, mine: bool) -> bool:
        """Whether it is so for any process."""
        return any(self.gather([mine])) if self.size > 1 else mine

    def passes(self, index: Tensor, size: int) -> list[tuple[Tensor, bool]]:
        """The share of this process of `index` in parts of at most `size`, as many as every other process has.

        A pass over sharded weights waits for all processes. Where this one has fewer parts it repeats one of a single
        thing, marked False, which is not to count.
        """
        mine = index[self.shard(len(index))]
        parts = [(part, True) for part in mine.split(size) if len(part)]
        most = math.ceil(math.ceil(len(index) / self.size) / size)  # of the largest share
        return parts + [(index[:1], False)] * (most - len(parts))

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each gradient by the sum over the processes; one that a process lacks counts as zero.

        Those of sharded weights are summed already.
        """
        if self.size == 1:
            return
        import torch
        from torch import distributed
        from torch.distributed.tensor import DTensor

        for parameter in parameters:
            if isinstance(parameter, DTensor):
                continue
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            distributed.all_reduce(parameter.grad)

    def sum_tensor(self, mine: Tensor) -> Tensor:
        """A tensor of one shape in every process, summed over the processes."""
        if self.size > 1:
            from torch import distributed

            distributed.all_reduce(mine)
        return mine

    def sum_figures(self, figures: dict[str, float]) -> dict[str, float]:
        """Each figure summed over the processes."""
        if self.size == 1:
            return figures
        every = self.gather([figures])
        return {name: sum(part[name] for part in every) for name in figures}
