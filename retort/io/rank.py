"""Which of several processes that train one model writes files and shows progress."""

from __future__ import annotations

import os


def is_rank_zero() -> bool:
    """Whether this process writes files: the first of a process group, or the only one."""
    return int(os.environ.get("RANK", "0")) == 0
