"""Whether everything that a run recorded is still what it recorded: `retort verify`.

Reads every content that a lock names in the object store, in the local cache and in the workspace, and every record of
an equal run. A record is not to be used if it is damaged itself, if it was made of an input of another size than it
says, or if it names a content that is damaged in the store now: it may have been made of the damaged one, in the days
when that was not noticed.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from retort.errors import IntegrityError
from retort.run import run_cache
from retort.run.contents import Wanted
from retort.run.dvc_adapter import Entry
from retort.run.dvc_workspace import Workspace, opened, parse_record
from retort.run.true_hashes import md5_of
from retort.run.uses import named

_WORKERS = 8
State = Literal["right", "damaged", "missing"]


@dataclass(frozen=True)
class Finding:
    """Something that is not as recorded."""

    path: str
    """In the workspace."""
    stage: str
    """Address of the stage that made it; empty for a source file."""
    kind: Literal["damaged", "missing", "unusable record"]
    place: str
    """Where it is, or should be."""
    remedy: str
    repaired: bool = False


@dataclass
class Report:
    """What was looked at and what was found."""

    contents: int = 0
    """Contents that the lock names."""
    records: int = 0
    """Records of runs, here and in the store."""
    findings: list[Finding] = field(default_factory=list)
    unsent: int = 0
    """Contents that only this machine has; no finding, as a run of this machine is not sent by itself."""

    @property
    def open(self) -> list[Finding]:
        """What is not repaired."""
        return [one for one in self.findings if not one.repaired]


def verify(root: Path, lock: Mapping[str, Entry], *, stored: bool = False, repair: bool = False) -> Report:
    """Compare what `lock` names with what is there.

    Args:
        root: A workspace, which says where the cache and the store are; its own files are read as well.
        lock: Lock entries by task address.
        stored: The run is one of a cluster, so that all of it should be in the store.
        repair: Remove records that are not to be used and damaged copies in the cache, and put back what there is a
            good copy of, in the store as well.

    Raises:
        StorageError: the store cannot be reached.
    """
    home = root.resolve()  # DVC works in the workspace, from which a relative path leads elsewhere
    with opened(root) as here, tempfile.TemporaryDirectory(prefix="retort-") as folder:
        examination = _Examination(here, home, Path(folder), stored=stored, repair=repair)
        examination.contents(named(lock))
        examination.run_records()
        return examination.report


class _Examination:
    def __init__(self, here: Workspace, root: Path, folder: Path, *, stored: bool, repair: bool):
        self._here, self._root, self._folder, self._stored, self._repair = here, root, folder, stored, repair
        self._bad: dict[str, Wanted] = {}
        self._sizes: dict[str, int] = {}
        self.report = Report()

    def contents(self, wanted: list[Wanted]) -> None:
        """Examine contents, folders' lists first: they say what else there is."""
        lists = [one for one in wanted if one.oid.endswith(".dir")]
        files = [one for one in wanted if not one.oid.endswith(".dir")]
        states = self._states(lists)
        for one, there in zip(lists, states, strict=True):
            listed = self._listing(one, there)
            files += [Wanted(f"{one.path}/{name}", oid, one.stage) for name, oid in listed.items()]
        files = list({(one.path, one.oid): one for one in files}.values())
        states += self._states(files)
        every = [*lists, *files]
        self.report.contents = len(every)
        for one, there in zip(every, states, strict=True):
            self._examine(one, there)
        for one in lists:  # a record gives a folder the size of all its files
            inner = self._here.contents.listing(one.oid).values() if self._is_listed(one.oid) else ["unknown"]
            self._sizes.pop(one.oid, None)
            if all(oid in self._sizes for oid in inner):
                self._sizes[one.oid] = sum(self._sizes[oid] for oid in inner)

    def _states(self, wanted: list[Wanted]) -> list[State]:
        """What the store has of each, read whole."""

        def state(oid: str) -> State:
            return self._here.contents.remote_problem(oid, self._folder) or "right"

        unique = list(dict.fromkeys(one.oid for one in wanted))
        with ThreadPoolExecutor(_WORKERS) as pool:
            found = dict(zip(unique, pool.map(state, unique), strict=True))
        return [found[one.oid] for one in wanted]

    def _listing(self, one: Wanted, there: State) -> dict[str, str]:
        """Files of a folder, from whichever copy of its list is right; none where no copy is."""
        cached = self._cache_path(one.oid)
        if self._state_of(cached, one.oid) != "right":
            if there != "right":
                return {}
            self._here.contents.fetch_one(one.oid, replace=True)
        return self._here.contents.listing(one.oid)

    def _examine(self, one: Wanted, there: State) -> None:
        cached = self._cache_path(one.oid)
        local, file = self._state_of(cached, one.oid), self._root / one.path
        here = self._state_of(str(file), one.oid) if file.is_file() else "missing"
        if local == "right":
            self._sizes[one.oid] = os.path.getsize(cached)
        elif there == "right":
            self._sizes[one.oid] = self._here.contents.remote_size(one.oid)
        copy = cached if local == "right" else str(file) if here == "right" else ""
        if there == "damaged":
            self._bad[one.oid] = one
        unsent = there == "missing" and bool(copy) and not self._stored
        self.report.unsent += unsent
        if there == "damaged" or (there == "missing" and one.stage and not unsent):
            place = self._here.contents.address(one.oid)
            self._found(one, there, place, self._sent(one, copy), "a copy of this machine was sent again")
        if local == "damaged":
            self._found(one, local, cached, self._dropped(cached), "removed; it is fetched again when it is needed")
        if here == "damaged" and not file.is_symlink():
            restored = self._restored(one, file, there, local)
            self._found(one, here, str(file), restored, "put back from the cache or the store")

    def _found(self, one: Wanted, kind: State, place: str, repaired: bool, done: str) -> None:
        stage = one.stage
        remedy = (
            f"`retort rerun RUN --from {stage}`, or `retort run` in a workspace of this machine, makes it again"
            if stage
            else "submit the run again where the file is right"
        )
        assert kind != "right"
        self.report.findings.append(Finding(one.path, one.stage, kind, place, done if repaired else remedy, repaired))

    def _sent(self, one: Wanted, copy: str) -> bool:
        if not (self._repair and copy):
            return False
        self._here.contents.put(one.oid, Path(copy))
        return True

    def _dropped(self, cached: str) -> bool:
        if self._repair:
            os.unlink(cached)
        return self._repair

    def _restored(self, one: Wanted, file: Path, there: State, local: State) -> bool:
        if not self._repair or "right" not in (there, local):
            return False
        if local != "right":
            self._here.contents.fetch_one(one.oid, replace=True)
        temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
        temporary.write_bytes(Path(self._cache_path(one.oid)).read_bytes())
        temporary.replace(file)
        return True

    def run_records(self) -> None:
        """Examine the records of equal runs, here and in the store."""
        for place in (self._here.runs_here, self._here.runs_there):
            names = list(place.names())
            self.report.records += len(names)
            with ThreadPoolExecutor(_WORKERS) as pool:
                reasons = list(pool.map(lambda name, place=place: self._unusable(place, *name), names))
            for (key, value), reason in zip(names, reasons, strict=True):
                if not reason:
                    continue
                if self._repair:
                    place.remove(key, value)
                remedy = "removed" if self._repair else "`retort verify --repair` removes it; the stage then runs again"
                where = place.path(key, value)
                path, stage = reason
                self.report.findings.append(Finding(path, stage, "unusable record", where, remedy, self._repair))

    def _unusable(self, place: run_cache.Place, key: str, value: str) -> tuple[str, str] | None:
        """Why a record of a run is not to be used, and its stage; None where it may be."""
        content = place.read_one(key, value)
        record = parse_record(key, value, content) if content is not None else None
        if record is None:
            return "the record itself is damaged", ""
        stage = str(record.get("cmd", "")).removeprefix("retort stage ")
        if wrong := run_cache.disagreements(record, self._sizes):
            return f"made with {', '.join(wrong)} of another size than recorded", stage
        entries: Iterable[Any] = [*record.get("deps", []), *record.get("outs", [])]
        bad = {one.path: one.oid for one in self._bad.values()}
        named = [str(entry["path"]) for entry in entries if self._names_bad(entry, bad)]
        return (f"names {', '.join(named)}, damaged in the store", stage) if named else None

    def _names_bad(self, entry: Mapping[str, Any], bad: Mapping[str, str]) -> bool:
        oid, path = str(entry.get("md5")), str(entry["path"])
        # A damaged file of a folder makes every record suspect that names that folder.
        return oid in self._bad or any(
            place.startswith(path + "/") and self._listed_in(oid, inner) for place, inner in bad.items()
        )

    def _listed_in(self, oid: str, inner: str) -> bool:
        if not oid.endswith(".dir"):
            return False
        if not self._is_listed(oid):
            try:
                self._here.contents.fetch_one(oid, replace=True)
            except IntegrityError:
                return True
        return inner in self._here.contents.listing(oid).values()

    def _is_listed(self, oid: str) -> bool:
        return self._state_of(self._cache_path(oid), oid) == "right"

    def _cache_path(self, oid: str) -> str:
        return str(self._here.repo.cache.local.oid_to_path(oid))

    def _state_of(self, path: str, oid: str) -> State:
        try:
            return "right" if md5_of(path) == oid.partition(".")[0] else "damaged"
        except FileNotFoundError:
            return "missing"
