"""What is known of a process that a signal ended: which one, and whether memory was the reason."""

from __future__ import annotations

import resource
import signal
from pathlib import Path

_SHELL = 128
"""A shell gives a command that a signal ended this exit status plus the signal's number."""
_GIB = 2**30
_CGROUP = Path("/sys/fs/cgroup")


def signal_of(status: int) -> int | None:
    """Number of the signal that ended a process with this exit status, or a command of a shell."""
    number = -status if status < 0 else status - _SHELL
    return number if number in {one.value for one in signal.Signals} else None


def words(number: int) -> str:
    """What a signal's end of a stage means and what to do, after "failed with exit code 75, "."""
    name = signal.Signals(number).name
    if number != signal.SIGKILL:
        return f"ended from outside by signal {number} ({name})"
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / _GIB
    memory = f"its largest process had used {peak:.2f} GiB"
    if limit := _number("memory.max"):
        memory += f", the limit of this container is {limit / _GIB:.2f} GiB"
    killer = "the kernel's out-of-memory killer ended it" if _killed_for_memory() else "most likely out of memory"
    return (
        f"killed by signal {number} ({name}): {killer} ({memory}). Another attempt meets the same limit: give the "
        "stage more memory (the profile's `memory`; `retort plan` says how much it needs) or a smaller batch"
    )


def _killed_for_memory() -> bool:
    """Whether the kernel counts such an end in this container."""
    try:
        lines = (_CGROUP / "memory.events").read_text(encoding="ascii").splitlines()
    except OSError:
        return False
    return any(line.startswith("oom_kill ") and int(line.split()[1]) > 0 for line in lines)


def _number(file: str) -> int | None:
    try:
        text = (_CGROUP / file).read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
