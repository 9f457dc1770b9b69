"""What the harness did, as a page of the documentation: faults tried, survived, refused, lost, silently wrong."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FULL = os.environ.get("RETORT_FAULTS") == "full"
"""Whether the whole harness runs (`make test-faults`) or its shortened form (`make test`)."""

PAGE = Path(__file__).parents[2] / "docs/faults.md"
KEPT = PAGE.with_suffix(".json")
"""The rows, from which the page is written; a run of one file of the harness replaces its own."""


@dataclass
class Row:
    """One kind of fault in one place."""

    where: str
    fault: str
    tried: int = 0
    survived: int = 0
    """The same result as without the fault."""
    refused: int = 0
    """Ended with an error that says what is wrong; the same command, without the fault, gave the right result."""
    lost: int = 0
    wrong: int = 0
    """Ended well, with something other than the right result."""
    failed: bool = False
    """Whether the harness itself stopped here, because something was not as it must be."""


def keep(file: str, rows: Iterable[Row], measured: str) -> None:
    """Keep what a file of the harness did, and write the page."""
    with KEPT.open("a+", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)  # other workers end at the same moment
        stream.seek(0)
        found = json.loads(stream.read() or "{}")
        found[file] = {"measured": measured, "rows": [asdict(one) for one in rows if one.tried or one.failed]}
        stream.truncate(0)
        stream.write(json.dumps(found, indent=1, sort_keys=True) + "\n")
        stream.flush()
        PAGE.write_text(page(found), encoding="utf-8")


def page(found: Mapping[str, Any]) -> str:
    """The page, from what `keep` kept."""
    rows = [Row(**one) for name in sorted(found) for one in found[name]["rows"]]
    lines = [
        "# Faults",
        "",
        "Written by `make test-faults` from what it did; do not edit. Where a row comes from stands in `tests/faults`;",
        "a shortened form of the same is part of `make test`. *Survived*: the same result, by hash, as without the",
        "fault. *Refused*: ended with an error that says what is wrong, and the same command, once the fault was over,",
        "gave the right result. *Lost*: something that was recorded is gone. *Silently wrong*: ended well, wrongly.",
        "",
        *(f"- `tests/faults/{name}`: {found[name]['measured']}" for name in sorted(found)),
        "",
        "| Where | Fault | Tried | Survived | Refused | Lost | Silently wrong |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for one in rows:
        counts = " | ".join(map(str, (one.tried, one.survived, one.refused, one.lost, one.wrong)))
        fault = f"{one.fault}: **FAILED, the counts end there**" if one.failed else one.fault
        lines.append(f"| {one.where} | {fault} | {counts} |")
    sums = [sum(getattr(one, name) for one in rows) for name in ("tried", "survived", "refused", "lost", "wrong")]
    lines += [f"| **All** | | {' | '.join(f'**{one}**' for one in sums)} |", ""]
    return "\n".join(lines)
