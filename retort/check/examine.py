"""Every check of a configuration, one after another; what one finds another may build on."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from retort import __version__, plugins
from retort.check.cost import check_cost
from retort.check.engines import check_engines
from retort.check.finding import Checked
from retort.check.machine import check_machine
from retort.check.models import check_models
from retort.check.prompts import check_prompts
from retort.check.settings import check_settings
from retort.config import RetortConfig, resolved
from retort.config.base import flat
from retort.errors import ConfigError
from retort.io.files import write_json
from retort.plan.devices import Device
from retort.run import dvc_adapter
from retort.run.embedded import place
from retort.run.paths import Paths
from retort.run.tasks import graph
from retort.run.workspace import check_benchmarks, missing_sources, outside_sources, outside_words

_RECORD = "checked.json"


def examine(
    config: RetortConfig,
    root: Path,
    *,
    here: bool = True,
    device: Device | None = None,
    workspace: Path | None = None,
) -> Checked:
    """Find everything that the run would be refused for, and what it will need.

    An endpoint is asked four short questions; nothing is written but a probe of the folder, and nothing is trained.

    Args:
        config: What is to be run.
        root: Folder that its paths start from.
        here: Whether it is to run on this machine.
        device: GPU that it is to run on, for memory and hours.
        workspace: Its workspace, where one is known: engines whose answers are all recorded there are not asked.
    """
    on = Checked(config, root, here, None if workspace is None else asked_engines(config, root, workspace))
    with plugins.at(root):
        with on.collecting("evaluate.benchmarks"):
            check_benchmarks(config)
        missing = check_files(on)
        check_machine(on)
        check_settings(on)
        if not missing:
            check_prompts(on)
            check_models(on)
        check_engines(on)
        check_cost(on, device)
    return on


def check_files(on: Checked) -> bool:
    """Every file that the configuration names; whether one is missing or out of reach."""
    made = graph(on.config, on.root)
    for name, stage in missing_sources(made, on.root).items():
        on.error(
            "", f"{on.root / name}: does not exist, but stage {stage} reads it. Correct the path, or put it there."
        )
    for name in outside_sources(made):
        on.error("", outside_words(name, on.root), ConfigError.exit_code)
    return on.failed


def asked_engines(config: RetortConfig, home: Path, workspace: Path) -> frozenset[str]:
    """Keys of the engines that some task will ask which the lock of `workspace` does not know as it is configured."""
    lock, values = dvc_adapter.read_lock(workspace), flat(resolved(config))
    asked: set[str] = set()
    for task in graph(config, home):
        known = lock.get(task.address, {}).get("params", {}).get("params.yaml", {})
        keys = [key for key in task.params if task.stage.uses == "models" or key.partition(".")[0] == "judge"]
        if known and all(_same(known.get(key), values, key) for key in task.params):
            continue
        for key in (*keys, *task.operation):
            head, *rest = key.split(".")
            if head in ("models", "students") and rest:
                asked.add(f"{head}.{rest[0]}.engine")
            elif head == "judge":
                asked.add("judge.model.engine")
    return frozenset(asked)


def _same(known: Any, values: dict[str, Any], key: str) -> bool:
    """Whether a key has the value that a lock knows of it, a section as a whole."""
    now = {name: value for name, value in values.items() if name == key or name.startswith(f"{key}.")}
    return now == (flat(known, f"{key}.") if isinstance(known, dict) else {key: known})


def checked_before(config: RetortConfig, home: Path, root: Path) -> bool:
    """Whether the run in `root` passed its check as it is: same configuration, files, place and version.

    Args:
        config: What is to be run.
        home: Folder that its paths start from.
        root: Its workspace, which keeps the record.
    """
    file = _record(root)
    try:
        return bool(json.loads(file.read_text(encoding="utf-8")) == _seen(config, home))
    except (OSError, ValueError):
        return False


def remember(config: RetortConfig, home: Path, root: Path) -> None:
    """Write down that the run in `root` passed its check, so that it is not checked again until something changes."""
    write_json(_record(root), _seen(config, home))


def _record(root: Path) -> Path:
    return Paths(root).state("x").parent.parent / _RECORD


def _seen(config: RetortConfig, home: Path) -> dict[str, Any]:
    """What a check depends on; of files, what the system says of them."""
    stamps: dict[str, Sequence[int] | None] = {}
    for name in graph(config, home).sources:
        here = place(name, home)
        files = sorted(here.rglob("*")) if here.is_dir() else [here]
        for file in files:
            state = file.stat() if file.is_file() else None
            stamps[str(file)] = None if state is None else [state.st_size, state.st_mtime_ns]
    text = json.dumps([resolved(config), stamps], sort_keys=True)
    return {
        "seen": hashlib.sha256(text.encode()).hexdigest(),
        "version": __version__,
        "home": os.fspath(home.resolve()),
    }
