"""Retort distils a large language model into a small one by transferring its responses and its rewards.

From Python: `retort.vote`, `retort.score`, `retort.run`, `retort.runs` and `retort.Run` (docs/guides/python.md).
"""

from importlib.metadata import version
from typing import Any

__version__ = version("retort")
"""Version of this installation."""

_INTERFACE = ("Run", "Scored", "Scores", "Vote", "runs", "score", "vote")
"""Names of `retort.interface`, loaded when they are first asked for; `retort.run` is a package that can be called."""


def __getattr__(name: str) -> Any:
    if name in _INTERFACE:
        from retort import interface

        return getattr(interface, name)
    if name == "run":
        import retort.run

        return retort.run
    raise AttributeError(f"module 'retort' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_INTERFACE, "run"])
