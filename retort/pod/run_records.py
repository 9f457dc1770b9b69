"""Records of one run in the object store: its lock, what failed in it and how long its tasks took.

The run's id is in the environment variable RETORT_RUN; a task without one keeps no records.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from typing import Any

from retort.errors import RETRY, InputError, IntegrityError, harmless
from retort.io.objects import Objects
from retort.run.dvc_adapter import Entry

_ATTEMPTS = 3
"""How often a lock is read that arrives damaged: a wire may damage one, a store damages all."""


@dataclass(frozen=True)
class Failure:
    """One attempt at a task that failed."""

    task: str
    pod: str
    exit_code: int
    message: str
    """What went wrong and what to do about it."""
    lines: list[str]
    """The last lines that the stage said."""
    upstream: list[str] = field(default_factory=list)
    """Names of the fragments that it read from; of one that could not read its settings, these."""


@dataclass(frozen=True)
class Records:
    """The records of one run."""

    objects: Objects

    @classmethod
    def of(cls, remote: str, run: str) -> Records:
        """Records of the run with this id in the store at `remote`."""
        return cls(Objects.of(remote, f"runs/{run}"))

    @classmethod
    def here(cls, remote: str) -> Records | None:
        """Records of the run that this process belongs to, if it belongs to one."""
        run = os.environ.get("RETORT_RUN")
        return cls.of(remote, run) if run else None

    def keep_lock(self, lock: dict[str, Entry]) -> None:
        """Keep the lock of the whole run, with a hash of it."""
        self.objects.write_json("lock.json", {"sha256": _digest(lock), "stages": lock}, verified=True)

    def lock(self) -> dict[str, Entry]:
        """The lock of the whole run.

        Raises:
            InputError: the run has not ended well, or never was.
            IntegrityError: the record is damaged.
        """
        for _ in range(_ATTEMPTS):
            found = self.objects.read_json("lock.json")
            if not isinstance(found, dict) or found.get("sha256") == _digest(found.get("stages", {})):
                break
        if found is None:
            raise InputError(
                "there is no such record: the run did not end well, or used another object store",
                file=f"{self.objects.folder}/lock.json",
                remedy="Look at `retort status RUN`",
            )
        lock: dict[str, Entry] = found.get("stages", {}) if isinstance(found, dict) else {}
        if not isinstance(found, dict) or found.get("sha256") != _digest(lock):
            raise IntegrityError(
                f"{self.objects.folder}/lock.json: this run's lock is damaged in the object store. Run it again under "
                "another name: what is on record of its stages is used, and the lock written anew."
            )
        return lock

    def keep_submission(self, who: str, commit: str | None) -> None:
        """Keep who submitted the run, from which commit."""
        self.objects.write_json("submitted.json", {"who": who, "commit": commit})

    def submission(self) -> dict[str, Any]:
        """Who submitted the run (`who`), from which `commit`; empty where nobody said."""
        found = self.objects.read_json("submitted.json")
        return found if isinstance(found, dict) else {}

    def keep_operation(self, values: dict[str, Any]) -> None:
        """Keep the values that decide only how tasks are computed and that the run was given one by one, by key."""
        self.objects.write_json("operation.json", values, verified=True)

    def operation(self) -> dict[str, Any]:
        """Those values; empty where the run was given none."""
        found = self.objects.read_json("operation.json")
        return found if isinstance(found, dict) else {}

    def keep_failure(self, failure: Failure) -> None:
        """Keep a failure; the attempts of a task are apart by pod."""
        self.objects.write_json(f"failures/{failure.task}/{failure.pod or 'local'}.json", asdict(failure))

    def failures(self, task: str = "") -> list[Failure]:
        """All failed attempts, by task; of one task where it is named."""
        folder = f"failures/{task}" if task else "failures"
        return [Failure(**self.objects.read_json(name)) for name in self.objects.names(folder)]

    def keep_timing(self, timing: dict[str, Any]) -> None:
        """Keep the wall time of a task: `task`, `seconds` of the stage alone, `pod_seconds` with all around it."""
        self.objects.write_json(f"timings/{timing['task']}.json", timing)

    def timings(self) -> list[dict[str, Any]]:
        """Wall times of the tasks that ran in this run."""
        return [self.objects.read_json(name) for name in self.objects.names("timings")]


def _digest(lock: dict[str, Entry]) -> str:
    return hashlib.sha256(json.dumps(lock, sort_keys=True).encode()).hexdigest()


def alike(failures: Sequence[Failure]) -> list[tuple[Failure, int]]:
    """One failure of each task and reason, with how many more attempts ended like it."""
    found: dict[tuple[str, int, str], list[Failure]] = {}
    for one in failures:
        found.setdefault((one.task, one.exit_code, one.message), []).append(one)
    return [(group[0], len(group) - 1) for group in found.values()]


def summary(state: str, message: str, failures: Sequence[Failure]) -> str:
    """A run's end as Markdown that a person can act on."""
    lines = [f"# Run {state.lower()}", ""]
    if message and state != "SUCCEEDED":
        lines += [f"Kubeflow says: {message}", ""]
    for failure, more in alike(failures):
        again = "another attempt may help" if failure.exit_code == RETRY else "another attempt will fail as well"
        pods = f"Pod `{failure.pod}`" + (f" and {more} more" if more else "")
        lines += [f"## {failure.task}", "", f"{pods}, exit code {failure.exit_code}: {again}.", ""]
        said = [harmless(line).replace("```", "'''") for line in failure.lines]  # nothing leaves its frame
        lines += [_in_a_page(failure.message), "", "```text", *said, "```", ""]
    if state != "SUCCEEDED" and not failures:
        lines += [
            "No stage has said why: its pod was ended from outside (memory, eviction) or never started (image, GPUs, "
            "quota). `retort status RUN` shows the pods' own words.",
            "",
        ]
    return "\n".join(lines)


def _in_a_page(message: str) -> str:
    """A message that makes no frame, heading or element of a page of Markdown; `commands` stay as they are."""
    text = escape(harmless(message), quote=False).replace("```", "'''")
    return re.sub(r"(?m)^(\s*)#", r"\1\\#", text)
