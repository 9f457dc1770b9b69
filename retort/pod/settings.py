"""What the pods of a group of tasks are told: a JSON text in the store, whose address is a parameter of the pipeline.

That address is in Kubeflow's cache key (`retort.pod.kept_settings`). The text holds what decides the results and where
contents lie, nothing else: a changed price or time-out must not void the cache, so such values reach pods in an
environment variable (`OPERATION`), which no cache key contains.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from retort.config import RetortConfig, resolved
from retort.config.load import pick
from retort.config.typed import Typed, get, parted, put, read, typed
from retort.errors import ConfigError
from retort.pod.run_records import Records
from retort.run.dvc_adapter import Entry
from retort.run.graph import Graph, Task, as_plain, from_plain

OPERATION = "RETORT_OPERATION"
"""Environment variable with the values of the configuration that decide only how a task runs, as JSON."""

INTERNAL = "zz_internal_"
"""Before the names of arguments that people leave as they are. Kubeflow's interface shows a run's parameters in the
alphabet's order and without their descriptions: so these come last, and their names say what they are."""

CONFIGURATION = f"{INTERNAL}configuration"
"""Argument with the whole configuration, which one task reads to check it: for people, and for commands about the run,
which need it where the store is away too."""


def parameter_of(group: str) -> str:
    """Argument with the settings of a group of tasks."""
    return f"{INTERNAL}{group.replace('-', '_')}"


def settings_in(given: Mapping[str, Any]) -> dict[str, str]:
    """Those of a run's arguments that are the settings of its groups, by parameter: addresses, or texts as of old."""
    return {name: str(value) for name, value in given.items() if name.startswith(INTERNAL) and name != CONFIGURATION}


@dataclass(frozen=True)
class GroupSettings:
    """What the pods of one group of tasks are told: tasks that read the same and differ by one key of their matrix."""

    remote: str
    """Folder or address of the object store, as pods reach it."""
    params: Mapping[str, Any]
    """The part of the configuration that decides their results."""
    code: Mapping[str, str]
    """Hash of the code that does, by item: a benchmark may have a rule of its own."""
    files: Sequence[Entry]
    """DVC's entries of the source files that they read; those that come with Retort need none."""
    tasks: Mapping[str, Task]
    """By item."""
    generation: int = 0
    """How often the store was collected (`retort.run.garbage`): what Kubeflow remembers from before may be gone."""
    typed: Mapping[str, str] = field(default_factory=dict)
    """Kind of each value that is an argument of the run of its own, by key; null in `params` until `filled`."""

    def to_json(self) -> str:
        """As one string, the same for the same settings."""
        tasks = {item: as_plain(task) | {"code": self.code[item]} for item, task in self.tasks.items()}
        for plain in tasks.values():
            del plain["stage"]["summary"]  # words decide nothing
        # What the tasks have in common is written once: pods read and people may.
        first = next(iter(tasks.values()))
        common = {key: value for key, value in first.items() if all(task[key] == value for task in tasks.values())}
        own = {item: {key: value for key, value in task.items() if key not in common} for item, task in tasks.items()}
        plain = {"remote": self.remote, "params": self.params, "files": self.files, "common": common, "tasks": own}
        plain |= {"typed": self.typed} if self.typed else {}
        plain |= {"generation": self.generation} if self.generation else {}
        return json.dumps(plain)  # in the order of the configuration, which is that of the report

    @classmethod
    def from_json(cls, text: str) -> GroupSettings:
        """What `to_json` made."""
        plain = json.loads(text)
        every = {item: plain["common"] | own for item, own in plain["tasks"].items()}
        code = {item: one.pop("code") for item, one in every.items()}
        tasks = {item: from_plain({**one, "stage": {"summary": "", **one["stage"]}}) for item, one in every.items()}
        more = plain.get("generation", 0), plain.get("typed", {})
        return cls(plain["remote"], plain["params"], code, plain["files"], tasks, *more)

    def filled(self, changes: Sequence[str]) -> GroupSettings:
        """The same with the values that the run was given one by one, as `key=value`.

        Raises:
            ConfigError: a value is missing, not asked for, or of another kind.
        """
        given = dict(parted(changes))
        if differs := sorted(set(given) ^ set(self.typed)):
            raise ConfigError(f"{', '.join(differs)}: the pipeline and its arguments are not of one configuration.")
        params: dict[str, Any] = json.loads(json.dumps(self.params))
        for key, kind in self.typed.items():
            put(params, key, read(kind, key, given[key]))
        return replace(self, params=params, typed={})

    def task(self, item: str) -> Task:
        """One of the tasks: the only one where `item` is empty.

        Raises:
            ConfigError: there is no such task.
        """
        if not item and len(self.tasks) == 1:
            return next(iter(self.tasks.values()))
        if item not in self.tasks:
            raise ConfigError(f"item {item!r}: these settings are of {', '.join(self.tasks)}.")
        return self.tasks[item]


def settings(
    config: RetortConfig, group: Sequence[Task], files: Mapping[str, Entry], *, remote: str, generation: int = 0
) -> GroupSettings:
    """What the pods of a group are told.

    Args:
        config: The run's whole configuration; pods are told what their tasks declare.
        group: Tasks of one group (`retort.run.graph.Graph.groups`).
        files: DVC's entries of the source files that the run reads, by name; those of the package need none.
        remote: Folder or address of the object store, as pods reach it.
        generation: How often that store was collected.
    """
    names = sorted({name for task in group for name in task.sources})
    params: dict[str, Any] = json.loads(json.dumps(_params(config, group)))
    given_apart = typed_of(config, group)
    for one in given_apart:
        put(params, one.key, None)
    return GroupSettings(
        remote,
        params,
        {task.item: task.code() for task in group},
        [files[name] for name in names if name in files],
        {task.item: task for task in group},
        generation,
        {one.key: one.kind for one in given_apart},
    )


def typed_of(config: RetortConfig, group: Sequence[Task]) -> list[Typed]:
    """The values that a group of tasks reads and that the run is given one by one."""
    params = _params(config, group)

    def has(key: str) -> bool:
        try:
            get(params, key)
        except KeyError:
            return False
        return True

    return [one for one in typed(config) if not one.operation and has(one.key)]


def _params(config: RetortConfig, group: Sequence[Task]) -> dict[str, Any]:
    return pick(resolved(config), [key for task in group for key in task.params])


def operation(config: RetortConfig, made: Graph, run: str) -> str:
    """The values that decide only how tasks of a run are computed, as JSON.

    Args:
        config: The run's whole configuration.
        made: Its graph.
        run: Its name, which pods have from nowhere else: a tracker shows it.
    """
    keys = [key for task in made for key in task.operation]
    picked = pick(resolved(config), keys)
    if picked.get("tracker"):
        picked["tracker"]["run"] = picked["tracker"].get("run") or run
    return json.dumps(picked)


def told_operation(remote: str) -> dict[str, Any]:
    """What `operation` made, as this process was told, with what the run at `remote` was given one by one."""
    found: dict[str, Any] = json.loads(os.environ.get(OPERATION, "{}"))
    records = Records.here(remote) if found else None
    given = records.operation() if records is not None else {}
    for key, value in given.items():
        with contextlib.suppress(KeyError):  # of a model that this task does not know of
            get(found, key)
            put(found, key, value)
    return found


def merged(params: Mapping[str, Any], operation: Mapping[str, Any], task: Task) -> dict[str, Any]:
    """The part of the configuration that a task may see: what decides its result, and how it is computed."""
    return _merge(dict(params), pick(dict(operation), task.operation))


def _merge(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    for key, value in above.items():
        old = below.get(key)
        below[key] = _merge(dict(old), value) if isinstance(old, dict) and isinstance(value, Mapping) else value
    return below
