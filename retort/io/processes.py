"""Processes that share work, also from a notebook or from a script without `if __name__ == "__main__"`."""

from __future__ import annotations

import sys
import threading
import types
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import process
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

_starting = threading.Lock()


class _Process(SpawnProcess):
    """A spawned process that does not run its parent's script again: what it calls is imported by name."""

    @staticmethod
    def _Popen(process_obj: process.BaseProcess) -> Any:  # noqa: N802 - as multiprocessing calls it
        with _starting:
            main = sys.modules["__main__"]
            # multiprocessing tells the child to import what this module came from, guard or not.
            sys.modules["__main__"] = types.ModuleType("__main__")
            try:
                return SpawnProcess._Popen(process_obj)
            finally:
                sys.modules["__main__"] = main


class _Context(SpawnContext):
    Process = _Process


@contextmanager
def spawned(workers: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of `workers` new processes; what they are given must be functions of modules, not of the user's script.

    They are not forked: Arrow's threads, which read tables, do not survive that.
    """
    with ProcessPoolExecutor(workers, mp_context=_Context()) as pool:
        yield pool
