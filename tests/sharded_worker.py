"""Runs stages in a process of a group, one after another.

    torchrun sharded_worker.py '[{"stage": ..., "values": {...}, "root": ...}]'

What was sharded goes to `ROOT/sharded.json`. A job with `kill_at` ends by SIGKILL after its checkpoint of that step.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from accelerate import PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType
from torch.distributed import fsdp

from retort.io.rank import is_rank_zero
from retort.modeling.checkpoint import Checkpoints
from retort.run.stage import run_stage


def let_accelerate_shard_on_cpus() -> None:
    """`accelerate` leaves its FSDP plugin aside where there is no GPU; torch's own FSDP works there."""
    honest = AcceleratorState.__init__

    def init(self, *args, fsdp_plugin=None, **kwargs):
        honest(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
        if fsdp_plugin is not None and self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type, self.fsdp_plugin = DistributedType.FSDP, fsdp_plugin
            PartialState._shared_state["distributed_type"] = DistributedType.FSDP

    AcceleratorState.__init__ = init


def write_down_what_is_sharded(seen: list[str]) -> None:
    honest = fsdp.fully_shard

    def fully_shard(module, **options):
        seen.extend(type(one).__name__ for one in (module if isinstance(module, list) else [module]))
        return honest(module, **options)

    fsdp.fully_shard = fully_shard


def kill_after(step: int) -> None:
    honest = Checkpoints.save

    def save(self, number, payload):
        honest(self, number, payload)
        if number == step:
            os.kill(os.getpid(), signal.SIGKILL)

    setattr(Checkpoints, "save", save)  # noqa: B010 - a method is replaced


if __name__ == "__main__":
    seen: list[str] = []
    let_accelerate_shard_on_cpus()
    write_down_what_is_sharded(seen)
    for job in json.loads(sys.argv[1]):
        seen.clear()
        if "kill_at" in job:
            kill_after(job["kill_at"])
        run_stage(job["stage"], job["values"], Path(job["root"]))
        if is_rank_zero():
            (Path(job["root"]) / "sharded.json").write_text(json.dumps(seen))
