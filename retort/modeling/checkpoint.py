"""Checkpoints of our own training loops: written whole or not at all, the one before kept, RNG included."""

from __future__ import annotations

import logging
import pickle
import random
import sys
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Any

import torch

from retort.io.files import atomic_path, native_writes
from retort.io.rank import is_rank_zero

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoints:
    """Numbered checkpoints in one folder of resume state."""

    folder: Path
    keep: int = 2

    def save(self, step: int, payload: dict[str, Any]) -> None:
        """Write a checkpoint of `step` with the state of every random generator; older ones are pruned.

        Of a process group, the first process does; all hold the same state.
        """
        if not is_rank_zero():
            return
        whole = {
            "payload": payload,
            "torch_rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "python_rng": random.getstate(),
        }
        with atomic_path(self.folder / f"step-{step:08d}.pt") as temporary, native_writes():
            torch.save(whole, temporary)
        for old in sorted(self.folder.glob("step-*.pt"))[: -self.keep]:
            old.unlink()

    def load(self) -> dict[str, Any] | None:
        """The newest checkpoint's payload with the random generators set as they were, or None where none is whole.

        A damaged file is passed over for the one before it, and a line says so.
        """
        damaged = False
        for file in sorted(self.folder.glob("step-*.pt"), reverse=True):
            try:
                with torch.serialization.safe_globals(_dataclasses_of(file)):
                    whole = torch.load(file, weights_only=True, map_location="cpu")
                payload: dict[str, Any] = whole["payload"]
            except (RuntimeError, EOFError, OSError, ValueError, KeyError, TypeError, pickle.UnpicklingError) as error:
                _log.warning("%s: is damaged and passed over (%s)", file, str(error).partition("\n")[0] or "empty")
                damaged = True
                continue
            if damaged:
                _log.warning("%s: training goes on from this checkpoint, the newest whole one", file)
            torch.set_rng_state(whole["torch_rng"])
            random.setstate(whole["python_rng"])
            if torch.cuda.is_available() and len(whole["cuda_rng"]) == torch.cuda.device_count():
                torch.cuda.set_rng_state_all(whole["cuda_rng"])
            return payload
        if damaged:
            _log.warning("%s: no checkpoint there is whole: training starts over", self.folder)
        return None


def _dataclasses_of(file: Path) -> list[Any]:
    """Classes that a checkpoint may hold beside tensors: dataclasses of modules that this process has loaded.

    A checkpoint comes out of the object store, and whoever can write there could write one that runs code when it is
    loaded. Whatever else it names, torch refuses.
    """
    found = []
    for name in torch.serialization.get_unsafe_globals_in_checkpoint(file):
        module, _, kind = name.rpartition(".")
        one = getattr(sys.modules.get(module), kind, None)
        if isinstance(one, type) and is_dataclass(one):
            found.append(one)
    return found
