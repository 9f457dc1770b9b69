"""What a scheduled run reads: the data as it lies at its source now, and whether that is news.

A schedule is made once and fires for months; its data lives at addresses outside (an object that an export job
overwrites). When it fires, that data is taken into the store by content hash, so that the run's record says what it
read.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from retort.errors import ConfigError, StorageError
from retort.io.objects import Objects
from retort.pod.kept_settings import keep, read, remote_of
from retort.pod.settings import GroupSettings, parameter_of
from retort.run import dvc_adapter


def refresh(
    settings: str, schedule: str, plan: str, data: Mapping[str, str], changes: Sequence[str] = ()
) -> tuple[str, bool]:
    """Take the data of a schedule as it is now.

    Args:
        settings: Settings of stage `prompts` (`retort.pod.kept_settings`), with the data as when the schedule was set.
        schedule: Name of the schedule.
        plan: Hash of everything else that the schedule runs: parameters, code.
        data: Address of the current content of each source file, by the name that the configuration gives it.
        changes: Values that this run was given one by one, as `key=value`.

    Returns:
        The settings with the data as it is now, and whether a run of this schedule has not ended well on them yet.

    Raises:
        ConfigError: `data` names no source file of the run.
        StorageError: an address cannot be read.
    """
    told = read(settings)
    now = keep(with_data(told, data, f"schedule {schedule}"))
    return now, _done(told.remote, schedule).read_json(_mark(plan, changes)) != _digest(now)


def with_data(told: GroupSettings, data: Mapping[str, str], source: str) -> GroupSettings:
    """Settings of stage `prompts` whose source files have the content that lies at these addresses now.

    Args:
        told: The settings.
        data: Address of the content, by the name that the configuration gives the file.
        source: Who says so, for messages.

    Raises:
        ConfigError: `data` names no source file of the run.
        StorageError: an address cannot be read.
    """
    reads = told.task("").sources
    if unknown := sorted(set(data) - set(reads)):
        raise ConfigError(
            f"{source}: {', '.join(unknown)}: is no file that stage prompts reads; those are {', '.join(reads)}."
        )
    with tempfile.TemporaryDirectory(prefix="retort-") as folder:
        root = Path(folder)
        dvc_adapter.init(root, remote=told.remote, site_cache=root / ".dvc/site")
        for name, address in data.items():
            _fetch(address, root / name, source)
        fresh = dvc_adapter.store(root, sorted(data))
    return replace(told, files=[fresh.get(file["path"], file) for file in told.files])


def ended_well(settings: str, schedule: str, plan: str, changes: Sequence[str] = ()) -> None:
    """Remember that a run of the schedule ended well on these settings of stage `prompts`."""
    _done(remote_of(settings), schedule).write_json(_mark(plan, changes), _digest(settings))


def plan_of(arguments: Mapping[str, Any]) -> str:
    """Hash of what a schedule runs, its data aside."""
    others = {name: value for name, value in arguments.items() if name != parameter_of("prompts")}
    told = replace(read(arguments[parameter_of("prompts")]), files=[])
    return _digest(json.dumps([others, told.to_json()], sort_keys=True))[:16]


def _fetch(address: str, file: Path, source: str) -> None:
    folder, _, name = address.rpartition("/")
    Objects.of(folder.rpartition("/")[0], folder.rpartition("/")[2]).download(name, file)
    if not file.exists() or file.stat().st_size == 0:
        raise StorageError(
            f"{source}: {address}: is empty. Wait for the job that writes it, or correct the address of {file.name}."
        )


def _done(remote: str, schedule: str) -> Objects:
    return Objects.of(remote, f"schedules/{schedule}")


def _mark(plan: str, changes: Sequence[str]) -> str:
    """Record of a plan; a run that was started by hand with other values has another plan than its schedule."""
    return f"{plan}.json" if not changes else f"{plan}-{_digest(json.dumps(list(changes)))[:16]}.json"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
