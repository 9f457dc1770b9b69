"""Resume state of a pod, kept in the object store: a pod that loses its node leaves nothing else behind.

While a task runs, a thread copies its state folder to the store whenever it changed: SIGTERM leaves a Kubeflow pod a
second (its launcher dies of it at once), and a lost node none. A snapshot is a list of files with their hashes, written
after the files themselves; so a reader finds a whole snapshot or the one before it, and knows a damaged one. The place
is named after the task's inputs, so that a retried pod and a new run alike go on from it, and runs with other inputs do
not.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import threading
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from retort.errors import IntegrityError, StorageError, StoreAwayError
from retort.io.files import content_hash
from retort.io.objects import Objects
from retort.io.outages import patient

_log = logging.getLogger(__name__)

_Version = tuple[int, int]
"""Size and time of change (ns) of a file."""

_SNAPSHOT = "snapshot.json"
_LAST_COPY_S = 60.0
"""How long a task that failed waits for a store that is away, to copy its state a last time."""


@dataclass(frozen=True)
class Copy:
    """The copy of a file in the store."""

    name: str
    sha256: str


class Mirror:
    """Keeps `folder` in `store` as long as it is entered; a block that ends well removes the copy.

    A store that fails costs the resume state, never the stage: it is warned of, the work goes on, and the next interval
    tries again.

    Args:
        folder: Resume state of the task.
        store: Where its copy is kept; nothing else is there.
        interval_s: Least time between two snapshots; RETORT_STATE_INTERVAL or 30 seconds when left out.
    """

    def __init__(self, folder: Path, store: Objects, *, interval_s: float | None = None):
        self._folder, self._store = folder.resolve(), store
        given = os.environ.get("RETORT_STATE_INTERVAL", "30")
        self._interval_s = float(given) if interval_s is None else interval_s
        self._copied: dict[str, tuple[_Version, Copy]] = {}
        self._failed = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="resume-state", daemon=True)

    def __enter__(self) -> Self:
        self.resume()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        if kind is None:
            try:
                with patient(0):
                    self._store.remove(_SNAPSHOT, *self._store.names())
            except StorageError as failure:
                _log.warning("the resume state of a finished task is left behind: %s", failure)
        else:
            with patient(_LAST_COPY_S):
                self._save()

    def resume(self) -> None:
        """Fetch the copy, if there is one; where it is not whole, the task starts over, with a warning.

        Raises:
            StoreAwayError: the store is away; starting over would throw away what it has.
        """
        try:
            self.restore()
        except StoreAwayError:
            raise
        except (StorageError, IntegrityError) as error:
            _log.warning("the resume state cannot be fetched, so the task starts over: %s", error)
            shutil.rmtree(self._folder, ignore_errors=True)

    def restore(self) -> None:
        """Fetch the copy, if there is one.

        Raises:
            StorageError: a file of it is not there.
            StoreAwayError: the store is away.
            IntegrityError: it is damaged.
        """
        listed = self._listed()
        for name, copy in listed.items():
            file = self._folder / name
            self._store.download(copy.name, file)
            if content_hash(file) != copy.sha256:
                raise IntegrityError(f"{self._store.folder}/{copy.name}: is damaged in the object store.")
        if listed:
            _log.warning("going on from the resume state of an earlier attempt (%d files)", len(listed))
        self._copied = {name: (version, listed[name]) for name, version in self._versions().items() if name in listed}

    def _listed(self) -> dict[str, Copy]:
        found = self._store.read_json(_SNAPSHOT)
        if found is None:
            return {}
        try:
            if found["sha256"] != _digest(found["files"]):
                raise ValueError("its hash is another")
            return {name: Copy(**copy) for name, copy in found["files"].items()}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise IntegrityError(f"{self._store.folder}/{_SNAPSHOT}: is damaged ({error}).") from error

    def _watch(self) -> None:
        while not self._stop.wait(self._interval_s):
            self._save()

    def _save(self) -> None:
        try:
            self._snapshot()
        except FileNotFoundError as error:  # a checkpoint may be pruned while it is being copied
            _log.warning("the resume state could not be copied this time: %s", error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next interval tries again
            self._failed += 1
            if self._failed == 1 or self._failed % _SAID_EVERY == 0:
                _log.warning("the resume state could not be copied (%d times now): %s", self._failed, error)
        else:
            if self._failed:
                _log.warning("the resume state is copied again, after %d times that it could not be", self._failed)
            self._failed = 0

    def _snapshot(self) -> None:
        found = self._versions()
        while (again := self._versions()).keys() != found.keys():
            found = again  # a listing that something was written during may lack a file that a later one relies on
        if {name: version for name, (version, _) in self._copied.items()} == found:
            return
        copied = {}
        for name, version in found.items():
            before = self._copied.get(name)
            if before is not None and before[0] == version:
                copied[name] = before
            else:
                copy = Copy(f"{name}.{uuid.uuid4().hex[:8]}", content_hash(self._folder / name))
                self._store.upload(copy.name, self._folder / name)
                copied[name] = (version, copy)
        files = {name: asdict(copy) for name, (_, copy) in copied.items()}
        self._store.write_json(_SNAPSHOT, {"files": files, "sha256": _digest(files)})
        outdated = {copy.name for _, copy in self._copied.values()} - {copy.name for _, copy in copied.values()}
        self._copied = copied
        self._store.remove(*sorted(outdated))

    def _versions(self) -> dict[str, _Version]:
        found = {}
        for file in sorted(self._folder.rglob("*")):
            try:
                if file.is_file() and not file.name.startswith("."):  # those are still being written
                    status = file.stat()
                    found[file.relative_to(self._folder).as_posix()] = (status.st_size, status.st_mtime_ns)
            except FileNotFoundError:
                continue
        return found


_SAID_EVERY = 20
"""Of the failures of one outage, the first and every so manieth are said."""


def _digest(files: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
