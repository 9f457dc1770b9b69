"""Contents between the local cache and the object store, each verified against the hash that it is named for.

A content is fetched under another name, read, and given its own only if its bytes are what was asked for: what lies in
a cache was whole once. A cache on a shared disk can be damaged later, so what is there is read again before it is used.
Nothing here knows DVC beyond its object databases (`fs`, `path`, `oid_to_path`, `protect`).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import tempfile
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from retort.errors import IntegrityError, StorageError, StoreAwayError
from retort.io.outages import explained
from retort.run.true_hashes import TrueHashes, md5_of

_log = logging.getLogger(__name__)
_Argument = TypeVar("_Argument")
_Result = TypeVar("_Result")

ATTEMPTS = 3
"""How often a content is fetched or sent that arrives damaged; a wire may damage one, a store damages all."""
_WORKERS = 8


@dataclass(frozen=True)
class Wanted:
    """A file or folder of a run as a lock records it."""

    path: str
    """In the workspace."""
    oid: str
    """Its content: MD5, with `.dir` for a folder."""
    stage: str = ""
    """Address of the stage that made it; empty for a source file."""


@dataclass(frozen=True)
class Problem:
    """A content that cannot be had."""

    path: str
    """The file that should have it, in the workspace."""
    oid: str
    stage: str
    kind: Literal["missing", "damaged"]
    place: str
    """Where it should be."""

    def __str__(self) -> str:
        maker = f"which stage {self.stage} made" if self.stage else "a source file"
        return f"{self.path} ({maker}) is {self.kind}: {self.place}"


def refusal(problems: Sequence[Problem]) -> IntegrityError:
    """The error that says what is missing or damaged, and what mends it."""
    stages = list(dict.fromkeys(one.stage for one in problems if one.stage))
    remedies = ["`retort verify --repair` puts back what this machine or the store has a good copy of"]
    remedies += [f"`retort rerun RUN --from {stage}` makes it again" for stage in stages[:1]]
    if any(not one.stage for one in problems):
        remedies.append("submitting the run again sends source files again")
    shown = "; ".join(str(one) for one in problems[:_SHOWN])
    more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    return IntegrityError(f"{shown}{more}. Nothing was made of it. {'; '.join(remedies)}.")


_SHOWN = 5


class Contents:
    """The contents of one workspace: its cache and its remote.

    Args:
        cache: DVC's local object database.
        remote: Gives DVC's object database of the remote; asked when first needed.
        hashes: What is known of local files.
        marked: Gives the contents that the remote has but is about to lose (`retort.run.garbage`); asked at each
            sending.
    """

    def __init__(
        self,
        cache: Any,
        remote: Callable[[], Any],
        hashes: TrueHashes,
        *,
        marked: Callable[[], Collection[str]] = frozenset,
    ):
        self._cache, self._connect, self._hashes, self._marked = cache, remote, hashes, marked
        self._connection: Any = None
        self._connecting = threading.Lock()
        self._etags_tell = True
        self.damaged: set[str] = set()
        """Contents that the remote has, but wrongly; sending them replaces what is there."""

    def fetch(self, wanted: Iterable[Wanted]) -> None:
        """Have everything in the cache, as recorded.

        Raises:
            IntegrityError: the remote lacks something, or has it damaged.
            StorageError: the remote cannot be reached, or the cache cannot be written.
        """
        wanted = list(wanted)
        found = self._have({one.oid: (one.path, one.stage) for one in wanted})
        if found:
            raise refusal(found)
        files: dict[str, tuple[str, str]] = {}
        for one in wanted:
            if one.oid.endswith(".dir"):
                files |= {oid: (f"{one.path}/{name}", one.stage) for name, oid in self.listing(one.oid).items()}
        if found := self._have(files):
            raise refusal(found)

    def listing(self, oid: str) -> dict[str, str]:
        """Contents of the files of a folder in the cache, by relative path."""
        text = Path(self._cache.oid_to_path(oid)).read_text(encoding="utf-8")
        found = {entry["relpath"]: entry["md5"] for entry in json.loads(text)}
        for name in found:
            if name.startswith("/") or ".." in name.split("/"):
                raise IntegrityError(f"{oid}: lists {name}, which lies outside the folder. Do not use this store.")
        return found

    def in_cache(self, oid: str) -> bool:
        """Whether the cache has a content and it is right; a damaged one is removed, and said."""
        path = self._cache.oid_to_path(oid)
        try:
            if self._hashes.of(path) == oid.partition(".")[0]:
                return True
        except FileNotFoundError:
            return False
        _log.warning("%s: is damaged in the local cache, so it is removed there", path)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        return False

    def send(self, wanted: Iterable[Wanted], *, replace: bool = False) -> None:
        """Have everything in the remote, files of a folder before the folder's list.

        Args:
            wanted: What is sent.
            replace: Send also what seems to be there already.

        Raises:
            IntegrityError: the cache lacks something, or has it damaged.
            StorageError: the remote cannot be reached or does not take it.
        """
        wanted = list(wanted)
        lists = {one.oid: (one.path, one.stage) for one in wanted if one.oid.endswith(".dir")}
        files = {one.oid: (one.path, one.stage) for one in wanted if not one.oid.endswith(".dir")}
        self._require(lists)
        for oid, (path, stage) in lists.items():
            files |= {inner: (f"{path}/{name}", stage) for name, inner in self.listing(oid).items()}
        self._require(files)
        marked = self._marked()
        for group in (files, lists):
            _side_by_side(
                lambda oid: self._send_from(oid, self._cache.oid_to_path(oid), replace=replace or oid in marked), group
            )

    def remote_problem(self, oid: str, folder: Path) -> Literal["", "missing", "damaged"]:
        """What is wrong with a content in the remote; it is read whole, into `folder` where the remote is elsewhere."""
        remote = self._remote()
        place = remote.oid_to_path(oid)
        try:
            with explained(place):
                if remote.fs.protocol == "local":
                    return "" if md5_of(place) == oid.partition(".")[0] else "damaged"
                file = folder / f"{oid}.{threading.get_ident()}"
                remote.fs.get_file(place, str(file))
        except StoreAwayError:
            raise
        except StorageError as error:
            if _is_absent(error):
                return "missing"
            raise
        wrong = md5_of(str(file)) != oid.partition(".")[0]
        file.unlink()
        return "damaged" if wrong else ""

    def fetch_one(self, oid: str, *, replace: bool = False) -> None:
        """Have one content in the cache, anew with `replace`.

        Raises:
            IntegrityError: the remote lacks it, or has it damaged.
        """
        if (replace or not self.in_cache(oid)) and (kind := self._fetch_one(oid)):
            raise refusal([Problem(oid, oid, "", kind, self.address(oid))])

    def put(self, oid: str, file: Path) -> None:
        """Send a content from a file that has just been read and found right, whatever the remote has.

        Raises:
            StorageError: the remote cannot be reached or does not take it.
        """
        self._send_from(oid, str(file), replace=True)

    def address(self, oid: str) -> str:
        """Where the remote has a content."""
        return _address(self._remote(), oid)

    def remote_size(self, oid: str) -> int:
        """Bytes of a content in the remote."""
        with explained(self.address(oid)):
            return int(self._remote().fs.info(self._remote().oid_to_path(oid))["size"])

    def _remote(self) -> Any:
        with self._connecting:
            self._connection = self._connection or self._connect()
        return self._connection

    def _require(self, contents: Mapping[str, tuple[str, str]]) -> None:
        self._hashes.of_many(path for path in map(self._cache.oid_to_path, contents) if os.path.exists(path))
        found = [
            Problem(path, oid, stage, "missing", self._cache.oid_to_path(oid))
            for oid, (path, stage) in contents.items()
            if not self.in_cache(oid)
        ]
        if found:
            raise refusal(found)

    def _have(self, contents: Mapping[str, tuple[str, str]]) -> list[Problem]:
        """Fetch what the cache lacks or has damaged; what could not be had."""
        with self._hashes.strict():
            self._hashes.of_many(path for path in map(self._cache.oid_to_path, contents) if os.path.exists(path))
            lacking = [oid for oid in contents if not self.in_cache(oid)]
        kinds = _side_by_side(self._fetch_one, lacking)
        remote = self._remote() if lacking else None
        return [
            Problem(*contents[oid][:1], oid, contents[oid][1], kind, _address(remote, oid))
            for oid, kind in zip(lacking, kinds, strict=True)
            if kind
        ]

    def _fetch_one(self, oid: str) -> Literal["", "missing", "damaged"]:
        remote = self._remote()
        source, target = remote.oid_to_path(oid), self._cache.oid_to_path(oid)
        temporary = f"{target}.{os.getpid()}.{threading.get_ident()}.tmp"
        self._cache.makedirs(os.path.dirname(target))
        try:
            for attempt in range(1, ATTEMPTS + 1):
                with explained(_address(remote, oid)):
                    remote.fs.get_file(source, temporary)
                if md5_of(temporary) == oid.partition(".")[0]:
                    os.replace(temporary, target)
                    self._cache.protect(target)
                    self._hashes.knows_as(target, oid.partition(".")[0])
                    return ""
                _log.warning("%s: arrived damaged (attempt %d of %d)", _address(remote, oid), attempt, ATTEMPTS)
        except StoreAwayError:
            raise
        except StorageError as error:
            if _is_absent(error):
                return "missing"
            raise
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
        self.damaged.add(oid)
        return "damaged"

    def _send_from(self, oid: str, source: str, *, replace: bool) -> None:
        remote = self._remote()
        target = remote.oid_to_path(oid)
        size = os.path.getsize(source)
        with explained(_address(remote, oid)):
            if not (replace or oid in self.damaged) and self._is_stored(oid, size):
                return
            for attempt in range(1, ATTEMPTS + 1):
                remote.fs.makedirs(remote.fs.parent(target), exist_ok=True)
                remote.fs.put_file(source, target)
                if self._is_stored(oid, size):
                    self.damaged.discard(oid)
                    return
                _log.warning("%s: was stored damaged (attempt %d of %d)", _address(remote, oid), attempt, ATTEMPTS)
        raise StoreAwayError(f"{_address(remote, oid)}: what the object store keeps is not what was sent.")

    def _is_stored(self, oid: str, size: int) -> bool:
        """Whether the remote has an object of this size, and of this MD5 where it says so."""
        remote, value = self._remote(), oid.partition(".")[0]
        try:
            info = remote.fs.info(remote.oid_to_path(oid))
        except FileNotFoundError:
            return False
        if info["size"] != size:
            return False
        # Of an object sent in one piece, S3's ETag is the MD5 of what arrived, unless it is encrypted with a KMS key.
        etag = str(info.get("ETag") or "").strip('"')
        if not self._etags_tell or len(etag) != len(value) or etag == value:
            return True
        with tempfile.TemporaryDirectory(prefix="retort-") as folder:
            if self.remote_problem(oid, Path(folder)):
                return False
        self._etags_tell = False
        return True


def _address(remote: Any, oid: str) -> str:
    return str(remote.fs.unstrip_protocol(remote.oid_to_path(oid))).removeprefix("file://")


def _is_absent(error: StorageError) -> bool:
    return isinstance(error.__cause__, FileNotFoundError)


def _side_by_side(call: Callable[[_Argument], _Result], items: Iterable[_Argument]) -> list[_Result]:
    """The results of `call`; a failure of one is raised after all have ended."""
    items = list(items)
    if len(items) < 2:
        return [call(item) for item in items]
    with ThreadPoolExecutor(_WORKERS) as pool:
        return [future.result() for future in [pool.submit(call, item) for item in items]]
