"""`retort gc`: what no kept run, tag, champion, schedule or run under way refers to, in a store or in local caches."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from retort_pipelines.runs.cluster_uses import ClusterUses

from retort.errors import ConfigError, IntegrityError
from retort.pod import kept_settings, lock_fragments
from retort.pod.lock_fragments import Fragment
from retort.pod.run_records import Records
from retort.run import dvc_adapter
from retort.run.dvc_workspace import Workspace, opened
from retort.run.garbage import SETTLED_S, Stored, Survey, listed, remove, size_and_time, survey, unusable_records
from retort.run.mark import Mark, read_mark, write_mark
from retort.run.uses import Use, named, of_folder, of_lock, whole

_READERS = 8
PASSING = ("state", "trainjobs", "checks")
"""Folders of a store whose files serve a task that runs: one that is old serves nobody."""


@dataclass
class Size:
    """How many files, and how long."""

    files: int = 0
    bytes: int = 0

    @classmethod
    def of(cls, stored: Collection[Stored]) -> Size:
        """Of these."""
        return cls(len(stored), sum(one.size for one in stored))


@dataclass
class Collected:
    """What one store or cache holds, and what became of it."""

    place: str
    used: Size
    """What somebody refers to."""
    young: Size
    """What nobody refers to, but was written lately."""
    unused: Size
    """What nobody refers to."""
    records: int = 0
    """Records of equal runs that nobody can use any more."""
    fragments: int = 0
    """Fragments of locks that nobody reads any more."""
    passing: Size = field(default_factory=Size)
    """Resume states and the like that serve nobody any more."""
    kept: Size = field(default_factory=Size)
    """Responses of models behind endpoints, which were paid for."""
    settings: Size = field(default_factory=Size)
    """What the pods of runs were told, which reruns and schedules read."""
    users: dict[str, int] = field(default_factory=dict)
    """Who refers to how many contents; one that several refer to counts once."""
    forgotten: list[str] = field(default_factory=list)
    """Runs whose records go."""
    lost: list[str] = field(default_factory=list)
    """Folders that somebody refers to, but that are nowhere."""
    damaged: list[str] = field(default_factory=list)
    """Fragments that cannot be read; they are left."""
    removed: Size = field(default_factory=Size)
    marked: int = 0
    """Contents that will be removed from `from_then_on`."""
    from_then_on: float = 0.0
    """Seconds since 1970."""


def folders(home: Path, others: Iterable[Path]) -> list[Path]:
    """Folders whose locks count: this one, its workspaces under runs/, and others that are named.

    Raises:
        ConfigError: one that is named is no DVC project.
    """
    for one in others:
        if not (one / ".dvc").is_dir():
            raise ConfigError(
                f"--keep {one}: is no DVC project, so it refers to nothing. Name a checkout or workspace."
            )
    here = [home, *sorted(home.glob("runs/*"))]
    found = [one for one in here if (one / ".dvc").is_dir()] + list(others)
    return list({one.resolve(): one for one in found}.values())


def collect_caches(home: Path, others: Sequence[Path], *, young_s: float, delete: bool) -> list[Collected]:
    """Collect the caches of a folder and its workspaces, with DVC's locks of all of them held.

    Raises:
        StorageError: DVC is at work in one of them.
        IntegrityError: it is not known what one of them refers to.
    """
    places = folders(home.resolve(), [one.resolve() for one in others])
    uses = [use for place in places for use in of_folder(place)]
    by_cache: dict[str, Path] = {}
    for place in places:
        with opened(place) as here:
            by_cache.setdefault(str(here.repo.cache.local.path), place)
    found = []
    with ExitStack() as held:
        spaces = {place: held.enter_context(opened(place)) for place in places}
        for here in spaces.values():
            held.enter_context(here.repo.lock)
        for place in by_cache.values():
            here, before = spaces[place], time.time() - young_s
            kept, lost = whole(here, [use for use in uses if _is_here(here, use.oid)])
            seen = survey(here.repo.cache.local, kept, before)
            made = _collected(str(here.repo.cache.local.path), seen, kept, lost)
            records = unusable_records(here.runs_here, seen.left, before)
            made.records = len(records)
            if delete:
                made.removed = Size.of(remove(here.repo.cache.local, [*records, *seen.unused], before=before))
            found.append(made)
    return found


def collect_store(
    home: Path,
    remote: str,
    others: Sequence[Path],
    *,
    cluster: ClusterUses | None,
    forget: Collection[str] = (),
    older_than_s: float | None = None,
    young_s: float,
    delete: bool,
) -> Collected:
    """Collect an object store.

    Args:
        home: Folder whose locks count, with its workspaces.
        remote: Folder or address of the store.
        others: Further folders whose locks count.
        cluster: What is under way and scheduled; None where nobody else uses the store, so that nothing need be marked.
        forget: Ids of runs whose records no longer count.
        older_than_s: Runs that ended longer ago no longer count.
        young_s: What was written since is left alone.
        delete: Mark or remove; else nothing is changed.

    Raises:
        ConfigError: a run to forget is not known.
        IntegrityError: it is not known what somebody refers to.
        StorageError: the store cannot be used.
    """
    uses = [use for place in folders(home.resolve(), [one.resolve() for one in others]) for use in of_folder(place)]
    uses += cluster.files if cluster else []
    cache = (home / "runs/.cache").resolve()
    with tempfile.TemporaryDirectory(prefix="retort-") as folder:
        root = Path(folder)
        dvc_adapter.init(root, remote=remote, cache=cache if cache.exists() else None, site_cache=root / ".dvc/site")
        with opened(root) as here:
            collection = _Collection(here, remote, time.time(), young_s, cluster)
            collection.runs(set(forget), older_than_s)
            return collection.collect(uses, delete=delete)


class _Collection:
    def __init__(self, here: Workspace, remote: str, now: float, young_s: float, cluster: ClusterUses | None):
        self._here, self._remote, self._now, self._cluster = here, remote, now, cluster
        self._before = now - young_s
        self._store = here.runs_there.odb
        self._contents = here.repo.cloud.get_remote_odb(None, "gc")
        self._uses: list[Use] = []
        self._forgotten: dict[str, list[Stored]] = {}

    def runs(self, forget: set[str], older_than_s: float | None) -> None:
        """See which runs are kept, and what they refer to."""
        found: dict[str, list[Stored]] = {}
        for one in self._files("runs"):
            parts = self._store.fs.parts(one.name)
            if len(parts[0]) > 2 and len(parts) > 1:  # records of equal runs lie in folders of two letters
                found.setdefault(parts[0], []).append(one)
        if unknown := sorted(forget - set(found)):
            raise ConfigError(f"--forget {unknown[0]}: no such run in {self._remote}; there are {', '.join(found)}.")
        for run, files in found.items():
            newest = max(one.changed for one in files)
            if run in forget or (older_than_s is not None and newest < self._now - older_than_s):
                self._forgotten[run] = files
            elif any(one.name.endswith("/lock.json") for one in files):
                self._uses += of_lock(Records.of(self._remote, run).lock(), f"run {run}")

    def collect(self, uses: list[Use], *, delete: bool) -> Collected:
        """See what is unused; with `delete` mark or remove it."""
        fragments, damaged = self._fragments()
        for one, fragment in fragments.items():
            if one.changed >= self._before or (self._cluster and self._cluster.reads(fragment)):
                self._uses += of_lock(fragment, "fragments of tasks")
        every = sorted([*uses, *self._uses], key=lambda use: not use.stored)
        kept, lost = whole(self._here, every)
        seen = survey(self._contents, kept, self._before)
        passing = [one for name in PASSING for one in self._old(name)]
        made = _collected(self._remote, seen, kept, lost)
        made.damaged, made.forgotten = damaged, sorted(self._forgotten)
        made.passing, made.kept = Size.of(passing), Size.of(self._files("responses"))
        made.settings = Size.of(self._files(kept_settings.FOLDER))
        records, unread = self._unusable(seen.left, fragments)
        made.records, made.fragments = len(records), len(unread)
        if delete:
            gone = [one for files in self._forgotten.values() for one in files]
            made.removed = Size.of(remove(self._store, [*passing, *gone], before=float("inf")))
            self._delete(made, seen, fragments)
        return made

    def _delete(self, made: Collected, seen: Survey, fragments: dict[Stored, Fragment]) -> None:
        mark = read_mark(self._store)
        unused = {one.name for one in seen.unused if one.kind == "content"}
        if self._cluster is None:
            doomed, before = list(seen.unused), self._before
        elif mark is None or self._now < mark.at + SETTLED_S:
            doomed, before = [], self._before
        else:
            doomed = [one for one in seen.unused if one.name in mark.contents or one.kind == "leftover"]
            before = mark.before
        if doomed:
            left = seen.left | (unused - {one.name for one in doomed})
            records, unread = self._unusable(left, fragments)
            gone = remove(self._store, [*records, *unread], before=self._before)
            gone += remove(self._contents, doomed, before=before)
            made.removed.files += len(gone)
            made.removed.bytes += sum(one.size for one in gone)
            unused -= {one.name for one in doomed}
        if mark is not None and mark.contents and self._cluster is not None and self._now < mark.at + SETTLED_S:
            made.marked, made.from_then_on = len(mark.contents), mark.at + SETTLED_S
        elif unused or doomed:
            number = mark.generation + 1 if mark else 1
            write_mark(self._store, Mark(number, self._now, self._before, frozenset(unused)))
            made.marked, made.from_then_on = len(unused), self._now + SETTLED_S

    def _unusable(self, left: Collection[str], fragments: dict[Stored, Fragment]) -> tuple[list[Stored], list[Stored]]:
        """Records and fragments that name a content which does not stay."""
        records = unusable_records(self._here.runs_there, left, self._before)
        unread = [one for one, fragment in fragments.items() if any(use.oid not in left for use in _made(fragment))]
        return records, [one for one in unread if one.changed < self._before]

    def _fragments(self) -> tuple[dict[Stored, Fragment], list[str]]:
        """All fragments of locks that can be read, and the names of those that cannot."""
        files = list(self._files("fragments"))
        damaged = []

        def load(one: Stored) -> Fragment | None:
            try:
                return lock_fragments.load(f"sha256:{one.name}", self._remote)
            except IntegrityError:
                damaged.append(one.name)
                return None

        with ThreadPoolExecutor(_READERS) as pool:
            loaded = list(pool.map(load, files))
        return {one: found for one, found in zip(files, loaded, strict=True) if found is not None}, damaged

    def _old(self, folder: str) -> Iterator[Stored]:
        """Files of a folder in which nothing was written lately, by the folders in it."""
        groups: dict[str, list[Stored]] = {}
        for one in self._files(folder):
            groups.setdefault(self._store.fs.parts(one.name)[0], []).append(one)
        for files in groups.values():
            if max(one.changed for one in files) < self._before:
                yield from files

    def _files(self, folder: str) -> list[Stored]:
        place = str(self._store.fs.join(self._store.path, folder))
        found = []
        for path, info in listed(self._store.fs, place):
            name = path.removeprefix(self._store.fs.unstrip_protocol(place)).removeprefix(place).lstrip("/")
            found.append(Stored("leftover", name, path, *size_and_time(info)))
        return found


def _made(fragment: Fragment) -> list[Use]:
    return [Use(one.oid, one.path, "") for one in named(fragment) if one.stage]


def _is_here(here: Workspace, oid: str) -> bool:
    """Whether a cache has a content: of what it has not, it need not keep the files of."""
    return bool(here.contents.in_cache(oid)) if oid.endswith(".dir") else True


def _collected(place: str, seen: Survey, kept: dict[str, str], lost: list[Use]) -> Collected:
    users = Counter(kept[one.name] for one in seen.used)
    nowhere = [f"{use.path} of {use.by}" for use in lost]
    return Collected(
        place,
        Size.of(seen.used),
        Size.of(seen.young),
        Size.of(seen.unused),
        users=dict(sorted(users.items())),
        lost=nowhere,
    )


def remaining(when: float) -> str:
    """A moment for people."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(when))
