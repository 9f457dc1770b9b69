"""Running: the graph, workspaces, code hashes, DVC. The package can be called: `retort.run(config)`."""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    """`retort.run` is the name of this package and of the function that a user looks for (`retort.interface.run`)."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return import_module("retort.interface").run(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable
