"""What the plan of a run says of one task's memory, for a task that was killed for it."""

from __future__ import annotations

from pathlib import Path

from retort.config import RetortConfig
from retort.errors import RetortError
from retort.plan.assumptions import Assumptions
from retort.plan.devices import DEVICES
from retort.plan.walk import plan
from retort.run.tasks import graph

_GIB = 2**30


def planned_memory(config: RetortConfig, root: Path, address: str) -> str | None:
    """Words for the memory that is planned for a task at its fullest; None where the plan knows none.

    Args:
        config: The run's configuration.
        root: Folder that its paths start from.
        address: The task, as DVC names it: `ppo-ppo`.
    """
    group = next((one.group for one in graph(config, root) if one.address == address), None)
    try:
        # Any device: what a pass holds does not depend on where it runs.
        found = plan(config, next(iter(DEVICES.values())), Assumptions.usual(), root)
    except RetortError:
        return None
    stage = found.stages.get(group or "")
    if stage is None or stage.memory is None:
        return None
    size = stage.memory.total / _GIB
    return (
        f"`retort plan` counts {size:.2f} GiB for {address} at its fullest ({stage.peak}), beside what Python and its "
        "libraries take"
    )
