"""How a process group shares things out, without its processes."""

from __future__ import annotations

import pytest
import torch

from retort.modeling.process_group import ProcessGroup


@pytest.mark.parametrize(("count", "processes", "size"), [(8, 1, 3), (5, 2, 2), (3, 2, 1), (2, 3, 4), (7, 3, 2)])
def test_every_process_makes_as_many_passes_and_everything_counts_once(count, processes, size):
    index = torch.arange(10, 10 + count)
    passes = [ProcessGroup(rank, processes).passes(index, size) for rank in range(processes)]
    assert len({len(mine) for mine in passes}) == 1
    counted = [int(one) for mine in passes for part, counts in mine if counts for one in part]
    assert counted == index.tolist()
    assert all(1 <= len(part) <= size for mine in passes for part, _ in mine)


def test_one_process_makes_no_pass_in_vain():
    assert all(counts for _, counts in ProcessGroup().passes(torch.arange(7), 3))
