"""Hashes of files as their bytes say, for DVC, which takes many on trust.

DVC believes that an object which it fetched, a cache file that is read-only and a file that it checked out have the
content they are named for, and remembers it: a damaged object passes all its comparisons. Here a hash is known only if
the bytes were read, in this process or, where that is enough, by an earlier one that saw the same size, time of change
and inode. A file is read once a process: who copies what was just verified need not read the copy.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

_log = logging.getLogger(__name__)

_Stamp = tuple[int, int, int]
"""Size, time of change (ns) and inode of a file."""

_CHUNK = 1 << 20
_WORKERS = min(8, os.cpu_count() or 1)
"""Files that are read at once; hashing leaves Python's lock."""


def md5_of(path: str) -> str:
    """MD5 of a file, which is what DVC names contents by."""
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def dvc_digest(path: Path) -> str:
    """What DVC will name a file or folder by: a folder by the MD5 of the list of its files, with `.dir`."""
    if not path.is_dir():
        return md5_of(str(path))
    files = sorted((file.relative_to(path).as_posix(), str(file)) for file in path.rglob("*") if file.is_file())
    with ThreadPoolExecutor(_WORKERS) as pool:
        digests = list(pool.map(md5_of, (file for _, file in files)))
    listed = [{"md5": digest, "relpath": name} for (name, _), digest in zip(files, digests, strict=True)]
    return hashlib.md5(json.dumps(listed, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"


def stamp_of(path: str) -> _Stamp:
    """What changes when a file is written."""
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns, status.st_ino


class TrueHashes:
    """What DVC asks for hashes instead of its own state database; DVC's interface is at the end.

    Args:
        made: Makes of a file's description and hash what DVC wants of an answer.
        kept: Hashes that earlier processes found, by path; they count as long as the file looks unchanged and nothing
            is `strict`.
        links: DVC's own state, which keeps track of links.
    """

    def __init__(
        self,
        made: Callable[[dict[str, Any], str], tuple[Any, Any]],
        *,
        kept: MutableMapping[str, str] | None = None,
        links: Any = None,
    ):
        self._made, self._kept, self._links = made, kept if kept is not None else {}, links
        self._here: dict[str, tuple[_Stamp, str]] = {}
        self._read: set[str] = set()
        self._is_strict = False
        self.bytes_read = 0

    @contextlib.contextmanager
    def strict(self) -> Iterator[None]:
        """Inside, only what this process has read itself counts."""
        before, self._is_strict = self._is_strict, True
        try:
            yield
        finally:
            self._is_strict = before

    def of(self, path: str) -> str:
        """MD5 of a file."""
        return self.of_many([path])[path]

    def of_many(self, paths: Iterable[str]) -> dict[str, str]:
        """MD5 of each file; those that must be read are read side by side."""
        found: dict[str, str] = {}
        unread: list[tuple[str, _Stamp]] = []
        for path in dict.fromkeys(paths):
            stamp = stamp_of(path)
            known = self._known(path, stamp)
            if known is None:
                unread.append((path, stamp))
            else:
                found[path] = known
        if len(unread) > 1:
            with ThreadPoolExecutor(_WORKERS) as pool:
                hashes = list(pool.map(md5_of, [path for path, _ in unread]))
        else:
            hashes = [md5_of(path) for path, _ in unread]
        for (path, stamp), value in zip(unread, hashes, strict=True):
            self.bytes_read += stamp[0]
            self._keep(path, stamp, value)
            found[path] = value
        return found

    def knows_as(self, path: str, value: str) -> None:
        """Take the hash of `path` from who has just read or copied its bytes."""
        self._keep(path, stamp_of(path), value)

    def _known(self, path: str, stamp: _Stamp) -> str | None:
        if (here := self._here.get(path)) is not None and here[0] == stamp:
            return here[1]
        if self._is_strict:
            return None
        *numbers, value = (self._kept.get(path) or "-").split()
        return value if numbers == [str(number) for number in stamp] else None

    def _keep(self, path: str, stamp: _Stamp, value: str) -> None:
        self._here[path] = (stamp, value)
        self._read.add(value)
        try:
            self._kept[path] = " ".join(map(str, (*stamp, value)))
        except (OSError, sqlite3.Error) as error:  # a full disk: the next process reads again what it wants to know
            _log.warning("hashes of files cannot be kept for the next command (%s)", error)
            self._kept = {}

    # What DVC calls. It saves hashes of two kinds: those it computed, which `get` has given it, and those it assumes.

    def get(self, path: str, fs: Any, info: dict[str, Any] | None = None) -> tuple[Any, Any]:
        """Description and hash of a local file; of others DVC computes them."""
        if fs.protocol != "local":
            return None, None
        try:
            return self._made(info or fs.info(path), self.of(path))
        except FileNotFoundError:
            return None, None

    def get_many(
        self, items: Sequence[str], fs: Any, infos: Mapping[str, dict[str, Any]]
    ) -> Iterator[tuple[str, Any, Any]]:
        """`get` of many files."""
        if fs.protocol == "local":
            self.of_many(path for path in items if os.path.exists(path))
        for path in items:
            yield (path, *self.get(path, fs, infos.get(path)))

    def save(self, path: str, fs: Any, hash_info: Any, info: dict[str, Any] | None = None) -> None:
        """DVC says what a file's hash is: taken as a copy of what was read, or not at all."""
        self.save_many([(path, hash_info, info)], fs)

    def save_many(self, items: Iterable[tuple[str, Any, Any]], fs: Any) -> None:
        """`save` of many files."""
        for path, hash_info, _ in items:
            value = str(hash_info.value).partition(".")[0]
            if fs.protocol == "local" and hash_info.name == "md5" and value in self._read:
                with contextlib.suppress(FileNotFoundError):
                    stamp = stamp_of(path)
                    if self._here.get(path, (None,))[0] != stamp:
                        self._keep(path, stamp, value)

    def set_link(self, path: str, inode: int, mtime: float) -> None:
        """DVC's own affair."""
        self._links.set_link(path, inode, mtime)

    def save_link(self, path: str, fs: Any) -> None:
        """DVC's own affair."""
        self._links.save_link(path, fs)

    def get_unused_links(self, used: Any, fs: Any) -> Any:
        """DVC's own affair."""
        return self._links.get_unused_links(used, fs)

    def remove_links(self, unused: Any, fs: Any) -> None:
        """DVC's own affair."""
        self._links.remove_links(unused, fs)

    def close(self) -> None:
        """Close the databases."""
        self._links.close()
        close: Callable[[], None] = getattr(self._kept, "close", lambda: None)
        close()
