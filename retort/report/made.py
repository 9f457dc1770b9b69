"""How a run was made: settings, seed, commit, who and when, hardware and versions.

None of it but the settings is versioned: it is what this workspace recorded of its last run and tasks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from retort.config import load_config
from retort.config.base import flat
from retort.report.formats import duration, joined
from retort.report.html import escape, table
from retort.run.paths import Paths
from retort.run.record import Record, read_record


@dataclass(frozen=True)
class Made:
    """How a run was made."""

    settings: Mapping[str, Any]
    """What its params.yaml says other than the defaults, by dotted key."""
    seed: int
    record: Record | None = None
    """Its last run on this machine, where one is recorded."""
    machines: dict[str, list[str]] = field(default_factory=dict)
    """Tasks by what they ran on, in words."""
    versions: dict[str, list[str]] = field(default_factory=dict)
    """Versions of Python and packages that tasks ran with; several where they differed."""


def made(root: Path) -> Made:
    """What the workspace `root` says of how it was made.

    Raises:
        ConfigError: its params.yaml is wrong.
    """
    config = load_config(root / "params.yaml", root=root)
    given = config.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    machines: dict[str, list[str]] = {}
    versions: dict[str, list[str]] = {}
    for file in sorted(Paths(root).timing("").parent.glob("*.json")):
        timing = json.loads(file.read_text(encoding="utf-8"))
        if machine := timing.get("machine"):
            machines.setdefault(_words(machine), []).append(str(timing["task"]))
            for name, version in machine["versions"].items():
                known = versions.setdefault(name, [])
                known += [version] if version not in known else []
    return Made(flat(given), config.seed, read_record(root), machines, versions)


def made_lines(one: Made) -> list[str]:
    """The same in a few lines, the settings as a count."""
    return [f"{name + ':':<11} {words}" for name, words in _rows(one)] + [
        f"settings:   {len(one.settings)} other than the defaults; the report lists them"
    ]


def made_section(one: Made) -> str:
    """The same as a table, and all settings."""
    facts = table(["Made", ""], [[name[:1].upper() + name[1:], words] for name, words in _rows(one)], kind="facts")
    settings = [[key, _value(value)] for key, value in one.settings.items()]
    if not settings:
        return facts
    inside = table(["Setting", "Value"], settings, kind="facts")
    head = f"{len(settings)} settings other than the defaults"
    return f"{facts}<details><summary>{escape(head)}</summary>{inside}</details>"


def _rows(one: Made) -> list[tuple[str, str]]:
    record, rows = one.record, [("seed", f"{one.seed}")]
    if record is not None:
        took = ""
        if record.ended is not None:
            seconds = datetime.fromisoformat(record.ended) - datetime.fromisoformat(record.started)
            took = f", took {duration(seconds.total_seconds())}"
        rows += [("last run", f"{record.started[:16].replace('T', ' ')} UTC by {record.who}{took}: {record.state}")]
        rows += [("commit", record.commit or "started outside a git repository")]
    for machine, tasks in one.machines.items():
        many = f" ({len(tasks)} tasks)" if len(one.machines) > 1 else ""
        rows.append(("hardware", f"{machine}{many}"))
    if one.versions:
        rows.append(("versions", ", ".join(f"{name} {joined(found)}" for name, found in one.versions.items())))
    return rows


def _words(machine: Mapping[str, Any]) -> str:
    gpus = machine.get("gpus") or []
    counted = [f"{gpus.count(name)} × {name}" for name in dict.fromkeys(gpus)]
    return ", ".join([*counted, str(machine["processor"]), f"{machine['cores']} cores", f"{machine['memory_gb']:g} GB"])


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
