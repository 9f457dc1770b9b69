"""Resume state of a pod, kept in the object store: a pod that loses its node leaves nothing else behind.

While a task runs, a thread copies its state folder to the store whenever it changed: SIGTERM leaves a Kubeflow pod a
second (its launcher dies of it at once), and a lost node none. A snapshot is a list of files, written after the files
themselves; so a reader finds a whole snapshot or the one before it. The place is named after the task's inputs, so that
a retried pod and a new run alike go on from it, and runs with other inputs do not.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
import uuid
from pathlib import Path
from types import TracebackType
from typing import Self

from retort.errors import StorageError
from retort.io.objects import Objects

_log = logging.getLogger(__name__)

_Version = tuple[int, int]
"""Size and time of change (ns) of a file."""

_SNAPSHOT = "snapshot.json"


class Mirror:
    """Keeps `folder` in `store` as long as it is entered; a block that ends well removes the copy.

    A store that fails costs the resume state, never the stage: it is warned of and the work goes on.

    Args:
        folder: Resume state of the task.
        store: Where its copy is kept; nothing else is there.
        interval_s: Least time between two snapshots; RETORT_STATE_INTERVAL or 30 seconds when left out.
    """

    def __init__(self, folder: Path, store: Objects, *, interval_s: float | None = None):
        self._folder, self._store = folder.resolve(), store
        given = os.environ.get("RETORT_STATE_INTERVAL", "30")
        self._interval_s = float(given) if interval_s is None else interval_s
        self._copied: dict[str, tuple[_Version, str]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="resume-state", daemon=True)

    def __enter__(self) -> Self:
        try:
            self.restore()
        except StorageError as error:
            _log.warning("the resume state cannot be fetched, so the task starts over: %s", error)
            shutil.rmtree(self._folder, ignore_errors=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        if kind is None:
            try:
                self._store.remove(_SNAPSHOT, *self._store.names())
            except StorageError as failure:
                _log.warning("the resume state of a finished task is left behind: %s", failure)
        else:
            self._save()

    def restore(self) -> None:
        """Fetch the copy, if there is one.

        Raises:
            StorageError: it cannot be fetched whole.
        """
        listed = self._store.read_json(_SNAPSHOT)
        for name, copy in (listed or {}).items():
            self._store.download(copy, self._folder / name)
        if listed:
            _log.warning("going on from the resume state of an earlier attempt (%d files)", len(listed))
        self._copied = {
            name: (version, listed[name]) for name, version in self._versions().items() if name in (listed or {})
        }

    def _watch(self) -> None:
        while not self._stop.wait(self._interval_s):
            self._save()

    def _save(self) -> None:
        try:
            self._snapshot()
        except (StorageError, FileNotFoundError) as error:  # a checkpoint may be pruned while it is being copied
            _log.warning("the resume state could not be copied this time: %s", error)

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
                copy = f"{name}.{uuid.uuid4().hex[:8]}"
                self._store.upload(copy, self._folder / name)
                copied[name] = (version, copy)
        self._store.write_json(_SNAPSHOT, {name: copy for name, (_, copy) in copied.items()})
        outdated = {copy for _, copy in self._copied.values()} - {copy for _, copy in copied.values()}
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
