"""What a measurement was made with: commit, hardware, versions; and how benchmarks print."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

from retort.run import surroundings as library


def surroundings(*packages: str) -> dict[str, Any]:
    """Commit, processor, cores, memory, load, and the versions of Python and `packages`."""
    return {
        "commit": library.commit() or "unknown",
        "load_before": round(os.getloadavg()[0], 1),
        **library.surroundings(*packages),
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
