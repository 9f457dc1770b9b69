"""Contents and records of runs that nobody refers to, in an object store or a cache, and removing them.

DVC's own collection (`dvc gc`) knows neither runs, nor ages, nor whoever writes to the store meanwhile; here its object
databases list and remove, and what is used, young or written again is left.

A store that pods write to is collected in two steps, because a pod does not send again what the store has already. The
first marks what nobody refers to; from then on whoever sends a marked content sends it again. A day later everybody
who had looked before the mark has recorded what he refers to, and what is still not referred to and was not written
again is removed.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from retort.io.outages import explained
from retort.run import run_cache
from retort.run.dvc_workspace import parse_record

SETTLED_S = 86_400.0
"""How old a mark must be before what it marks is removed: longer than a pod takes from looking to recording."""

_WORKERS = 8
Kind = Literal["content", "leftover", "record"]
_OID = re.compile(r"[0-9a-f]{32}(\.dir)?")


@dataclass(frozen=True)
class Stored:
    """A file of a store or cache."""

    kind: Kind
    """`leftover`: of a process that was killed while it wrote."""
    name: str
    """Hash of a content; key and value of a record."""
    path: str
    size: int
    changed: float
    """When it was written, seconds since 1970."""


@dataclass
class Survey:
    """What a store or cache holds, by whether somebody refers to it."""

    used: list[Stored] = field(default_factory=list)
    young: list[Stored] = field(default_factory=list)
    """What nobody refers to yet, but was written lately: somebody may be about to."""
    unused: list[Stored] = field(default_factory=list)

    @property
    def left(self) -> set[str]:
        """Contents that stay."""
        return {one.name for one in (*self.used, *self.young) if one.kind == "content"}


def survey(odb: Any, used: Collection[str], before: float) -> Survey:
    """Look at all contents of a store or cache.

    Args:
        odb: DVC's object database of its contents.
        used: Contents that somebody refers to.
        before: What was written later is young, seconds since 1970.
    """
    found = Survey()
    for path, info in listed(odb.fs, str(odb.path)):
        size, changed = size_and_time(info)
        try:
            name = str(odb.path_to_oid(path))
            kind: Kind = "content" if _OID.fullmatch(name) else "leftover"
        except ValueError:
            kind, name = "leftover", path
        group = found.young if changed >= before else found.unused
        (found.used if kind == "content" and name in used else group).append(Stored(kind, name, path, size, changed))
    return found


def unusable_records(runs: run_cache.Place, left: Collection[str], before: float) -> list[Stored]:
    """Records of equal runs that name a content which does not stay, or are damaged; young ones are left alone.

    Args:
        runs: The records.
        left: Contents that stay.
        before: What was written later is young.
    """
    found = []
    for path, info in listed(runs.odb.fs, str(runs.odb.fs.join(runs.odb.path, "runs"))):
        names = run_cache.names_of(runs.odb.fs.parts(path))
        size, changed = size_and_time(info)
        if names is not None and changed < before and not _is_of(runs.read_one(*names), names, left):
            found.append(Stored("record", "/".join(names), path, size, changed))
    return found


def remove(odb: Any, doomed: Iterable[Stored], *, before: float) -> list[Stored]:
    """Remove records, then folders' lists, then files; one that was written after `before` is left.

    Returns:
        What was removed.
    """
    order: tuple[Callable[[Stored], bool], ...] = (
        lambda one: one.kind == "record",
        lambda one: one.kind != "record" and one.name.endswith(".dir"),
        lambda one: one.kind != "record" and not one.name.endswith(".dir"),
    )
    doomed, removed = list(doomed), []
    for is_of in order:
        with ThreadPoolExecutor(_WORKERS) as pool:
            group = [one for one in doomed if is_of(one)]
            gone = list(pool.map(lambda one: _remove(odb.fs, one, before), group))
            removed += [one for one, is_gone in zip(group, gone, strict=True) if is_gone]
    return removed


def listed(files: Any, folder: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Files under a folder of DVC's file system, with what is known of each."""
    inner = files.fs
    if files.protocol == "local":
        for place, _, names in sorted(os.walk(folder)):
            for name in sorted(names):
                path = os.path.join(place, name)
                with contextlib.suppress(FileNotFoundError):
                    status = os.lstat(path)
                    yield path, {"size": status.st_size, "mtime": status.st_mtime}
        return
    with explained(folder):
        inner.invalidate_cache()
        found = inner.find(folder, detail=True) if inner.exists(folder) else {}
    for path, info in sorted(found.items()):
        yield str(path), dict(info)


def size_and_time(info: Mapping[str, Any]) -> tuple[int, float]:
    """Bytes of a file, and when it was written; infinity where the store does not say, so that nothing there is old."""
    changed = info.get("LastModified", info.get("mtime", info.get("updated")))
    if isinstance(changed, str):
        changed = datetime.fromisoformat(changed)
    if isinstance(changed, datetime):
        changed = changed.timestamp()
    return int(info.get("size") or 0), float("inf") if changed is None else float(changed)


def _is_of(content: bytes | None, names: tuple[str, str], left: Collection[str]) -> bool:
    """Whether all that a record says was made stays; a record that is damaged says nothing."""
    record = parse_record(*names, content) if content is not None else None
    return record is not None and all(str(out.get("md5")) in left for out in record.get("outs", []))


def _remove(files: Any, one: Stored, before: float) -> bool:
    with explained(one.path):
        try:
            if files.protocol == "local":
                if os.lstat(one.path).st_mtime >= before:
                    return False
                os.unlink(one.path)
                with contextlib.suppress(OSError):  # another content or record lies there
                    os.rmdir(os.path.dirname(one.path))
            else:
                files.fs.invalidate_cache()
                if size_and_time(files.fs.info(one.path))[1] >= before:
                    return False
                files.fs.rm_file(one.path)
        except FileNotFoundError:
            return False
    return True
