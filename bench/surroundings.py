"""What a measurement was made with: commit, hardware, versions; and how benchmarks print."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any


def surroundings(*packages: str) -> dict[str, Any]:
    """Commit, processor, cores, memory, and the versions of Python and `packages`."""
    return {
        "commit": _commit(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "load_before": round(os.getloadavg()[0], 1),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
    }


def show(found: dict[str, Any], heads: Sequence[str], rows: Sequence[Sequence[str]], *, as_json: bool) -> None:
    """Print one JSON object, or a Markdown table with what it was measured with under it."""
    if as_json:
        print(json.dumps(found, sort_keys=True))
        return
    widths = [max(len(line[place]) for line in (heads, *rows)) for place in range(len(heads))]
    for line in (heads, ["-" * width for width in widths], *rows):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |")
    made = found["surroundings"]
    versions = ", ".join(f"{name} {number}" for name, number in made["versions"].items())
    print(
        f"\ncommit {made['commit']}; {made['processor']}, {made['cores']} cores, {made['memory_gb']} GB, load before "
        f"{made['load_before']}; {versions}"
    )


def _commit() -> str:
    """Short commit, with a mark where tracked files differ from it."""
    done = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
