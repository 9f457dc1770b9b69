"""DVC's repository of a workspace, opened so that it believes nothing that was not read.

DVC takes much on trust: that an object which it fetched, a read-only file of its cache and what it checked out have the
content they are named for. Here it gets its hashes from `retort.run.true_hashes` and its contents through
`retort.run.contents`, and starts a stage only on inputs that were read and found as recorded. What DVC and its stores
raise is explained, in one line.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import logging
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from retort.errors import RETRY, IntegrityError, RetortError, StageError, StoppedError, StorageError
from retort.io.outages import explain, is_passing, patiently
from retort.run import kill, run_cache
from retort.run.contents import Contents, Problem, Wanted, refusal
from retort.run.dvc_files import drop_half_written_notes, written_whole
from retort.run.mark import read_mark
from retort.run.true_hashes import TrueHashes, stamp_of

_log = logging.getLogger(__name__)

How = Literal["ran", "restored", "unchanged"]
"""What became of a task: its outputs may be those of an equal run."""
Told = Callable[[str, How, float], None]
"""Hears of each task, when it is up to date: its address, how, and after how many seconds."""


_REMOVE_LOCK = (
    ". Remove dvc.lock, which is damaged or half written, and run again: what ran is on record and is restored, "
    "not computed."
)


@dataclass(frozen=True)
class Workspace:
    """A workspace that DVC has opened."""

    repo: Any
    contents: Contents
    hashes: TrueHashes
    recorded: dict[str, Any] = field(default_factory=dict)
    """Outputs of the workspace by path, as the lock has them now; DVC would read all its files again for each stage."""
    told: Told | None = None

    def outs(self, paths: Sequence[str] = ()) -> list[Any]:
        """What the workspace's lock names: all, or what lies at, in or around `paths`, or is of a `.dvc` file."""
        found = [out for out in self.repo.index.outs if out.hash_info]
        if not paths:
            return found
        wanted = [str(Path(path)) for path in paths]
        chosen = [
            out
            for out in found
            if any(_overlap(place, path) for path in wanted for place in (_place(out), out.stage.path_in_repo))
        ]
        for path in wanted:
            if not any(_overlap(place, path) for out in chosen for place in (_place(out), out.stage.path_in_repo)):
                raise StorageError(f"{path}: this workspace's lock knows no such file or folder.")
        return chosen

    def bring(self, outs: Sequence[Any]) -> None:
        """Have `outs` in the workspace as recorded, from the cache or the remote.

        Raises:
            IntegrityError: something is missing or damaged.
        """
        wanted = [_wanted(out) for out in outs]
        patiently(f"fetching {', '.join(one.path for one in wanted[:3])}", lambda: self.contents.fetch(wanted))
        with self.hashes.strict():
            for out in outs:
                with _cached(out):
                    out.obj = None  # DVC may have loaded a damaged list before
                    out.checkout(force=True)
            wrong = [one for out, one in zip(outs, wanted, strict=True) if out.changed_checksum()]
        if wrong:
            raise refusal([Problem(one.path, one.oid, one.stage, "damaged", one.path) for one in wrong])

    def send(self, outs: Sequence[Any], *, replace: bool = False) -> None:
        """Send the contents of `outs` to the remote."""
        wanted = [_wanted(out) for out in outs if out.use_cache]
        what = f"sending {', '.join(one.path for one in wanted[:3])}"
        with self.hashes.strict():
            patiently(what, lambda: self.contents.send(wanted, replace=replace))

    def check_inputs(self, stage: Any) -> dict[str, tuple[int, int, int]]:
        """Read what a stage is about to read; what each of these files looks like now.

        Raises:
            IntegrityError: an input is not what was recorded of it.
        """
        problems = []
        for dep in stage.deps:
            if not dep.def_path or dep.protocol != "local":
                continue
            for out in self._recorded_at(_place(dep)):
                if not out.exists or out.changed_checksum():
                    one = _wanted(out)
                    kind: Literal["damaged", "missing"] = "damaged" if out.exists else "missing"
                    problems.append(Problem(one.path, one.oid, one.stage, kind, str(out.fspath)))
        if problems:
            raise refusal(problems)
        return self._stamps(stage)

    def _recorded_at(self, place: str) -> list[Any]:
        """Outputs at, around or in a path; of a source file there are none."""
        if (exact := self.recorded.get(place)) is not None:
            return [exact]
        return [out for path, out in self.recorded.items() if _overlap(path, place)]

    def _stamps(self, stage: Any) -> dict[str, tuple[int, int, int]]:
        deps = [dep.fspath for dep in stage.deps if dep.def_path and dep.protocol == "local"]
        files = [file for dep in deps for file in (self.repo.fs.find(dep) if os.path.isdir(dep) else [dep])]
        return {str(file): stamp_of(str(file)) for file in files if "__pycache__" not in str(file)}

    def reproduce_stage(self, stage: Any, **kwargs: Any) -> Any:
        """DVC's way of bringing one stage up to date, on inputs that were read first and did not change meanwhile."""
        from dvc.repo.reproduce import _reproduce_stage

        run, command, started = stage.run, stage._run_stage, time.monotonic()
        did: How = "restored"

        def strictly(*args: Any, **options: Any) -> Any:
            with self.hashes.strict():
                return run(*args, **options)

        def checked(*args: Any, **options: Any) -> Any:
            nonlocal did
            before = self.check_inputs(stage)
            with _noticed() as commands:
                command(*args, **options)
            did = "ran" if commands else "restored"
            if changed := sorted(path for path, stamp in self._stamps(stage).items() if before.get(path) != stamp):
                raise StorageError(
                    f"{', '.join(changed)}: changed while stage {stage.addressing} ran, so nobody knows what it read, "
                    "and nothing is recorded of it. Run it again, and leave its inputs alone meanwhile."
                )

        if not self.recorded:
            self.recorded.update({_place(out): out for out in self.repo.index.outs if out.hash_info})
        self._mend_cache(stage)
        stage.run, stage._run_stage = strictly, checked
        try:
            ran = _reproduce_stage(stage, **kwargs)
        finally:
            del stage.run, stage._run_stage
        self.recorded.update({_place(out): out for out in stage.outs})
        if self.told is not None:
            self.told(stage.addressing, did if ran is not None else "unchanged", time.monotonic() - started)
        return ran

    def _mend_cache(self, stage: Any) -> None:
        """Put a stage's outputs back into the cache where only the workspace has them right: it need not run again."""
        for out in stage.outs:
            if out.use_cache and out.hash_info and out.exists and not out.changed_checksum() and out.changed_cache():
                _log.warning("%s: was damaged in the local cache or missing there; put back", _place(out))
                out.save()
                out.commit()

    def copy_runs(self, stage: Any, *, push: bool) -> list[dict[str, Any]]:
        """Copy the records of runs equal to `stage` between this workspace and its remote; return them."""
        from dvc.stage.cache import _can_hash, _get_stage_hash

        if not push:
            stage.save_deps()
        if not _can_hash(stage):
            return []
        key = _get_stage_hash(stage)
        source, target = (self.runs_here, self.runs_there) if push else (self.runs_there, self.runs_here)
        return patiently(
            f"records of runs of {stage.addressing}",
            lambda: run_cache.copy(source, target, key, parse_record),
        )

    @property
    def runs_here(self) -> run_cache.Place:
        """Records of runs in the cache."""
        return run_cache.Place(self.repo.cache.legacy)

    @property
    def runs_there(self) -> run_cache.Place:
        """Records of runs in the remote."""
        return run_cache.Place(self.repo.cloud.get_remote_odb(None, "run cache", hash_name="md5-dos2unix"))

    def restore(self, stage: Any) -> bool:
        """Fetch the outputs of a run equal to `stage`, where there is one; whether there is.

        One whose outputs are missing or damaged is forgotten here, with a warning, so that the stage runs.
        """
        from dvc.stage.cache import _can_hash

        self.copy_runs(stage, push=False)
        while _can_hash(stage) and (record := self.repo.stage_cache._load(stage)) is not None:
            outs = [Wanted(out["path"], out["md5"], stage.addressing) for out in record["outs"]]
            try:
                patiently(f"fetching what stage {stage.addressing} made", lambda outs=outs: self.contents.fetch(outs))  # type: ignore[misc]
            except IntegrityError as error:
                _log.warning("a run equal to %s is on record, but cannot be used: %s", stage.addressing, error)
                self._forget(record)
            else:
                return True
        return False

    def _forget(self, record: dict[str, Any]) -> None:
        from dvc.stage.cache import _get_cache_hash

        key = _get_cache_hash(copy.deepcopy(record), key=True)
        self.runs_here.remove(key, _get_cache_hash(record))


def parse_record(key: str, value: str, content: bytes) -> dict[str, Any] | None:
    """A record of a run as DVC reads it; None where it is not what its names, hashes of what it says, call it."""
    from dvc.schema import COMPILED_LOCK_FILE_STAGE_SCHEMA
    from dvc.stage.cache import _get_cache_hash
    from dvc.utils.serialize import YAMLFileCorruptedError, parse_yaml
    from voluptuous import Invalid

    try:
        record: dict[str, Any] = COMPILED_LOCK_FILE_STAGE_SCHEMA(parse_yaml(content.decode("utf-8"), value))
        names = _get_cache_hash(copy.deepcopy(record)), _get_cache_hash(copy.deepcopy(record), key=True)
    except (UnicodeDecodeError, YAMLFileCorruptedError, Invalid, KeyError, TypeError, AttributeError):
        return None
    return record if names == (value, key) else None


def _place(out: Any) -> str:
    """Path of an output or input from the workspace's root."""
    return str(os.path.relpath(out.fs_path, out.repo.root_dir))


def _overlap(one: str, other: str) -> bool:
    """Whether one path is the other, lies in it or holds it."""
    return one == other or one.startswith(other + os.sep) or other.startswith(one + os.sep)


def _wanted(out: Any) -> Wanted:
    stage = str(out.stage.addressing) if out.stage.cmd else str((out.annot.meta or {}).get("stage", ""))
    return Wanted(_place(out), str(out.hash_info.value), stage)


@contextlib.contextmanager
def _noticed() -> Iterator[list[str]]:
    """Names of the stages whose command DVC starts in the block; it restores the others from equal runs."""
    from dvc.stage import run as running

    start, started = running.cmd_run, list[str]()

    def noticing(stage: Any, *args: Any, **options: Any) -> Any:
        started.append(stage.addressing)
        return start(stage, *args, **options)

    running.cmd_run = noticing
    try:
        yield started
    finally:
        running.cmd_run = start


@contextlib.contextmanager
def _cached(out: Any) -> Iterator[None]:
    """`out` as one that DVC keeps in its cache."""
    before, out.use_cache = out.use_cache, True
    try:
        yield
    finally:
        out.use_cache = before


@contextlib.contextmanager
def opened(root: Path, *, told: Told | None = None) -> Iterator[Workspace]:
    """The workspace at `root`, with DVC's mistakes and those of its stores explained.

    With `told`, who hears of each stage, DVC itself shows no line and no bar but its warnings.
    """
    from dvc.exceptions import DvcException, ReproductionError
    from dvc.lock import LockError
    from dvc.repo import Repo

    git = any((folder / ".git").exists() for folder in (root.resolve(), *root.resolve().parents))
    # A source archive has the checkout's .dvc folder but no git.
    settings = None if git else {"core": {"no_scm": True}}
    drop_half_written_notes(root)
    try:
        with (
            contextlib.chdir(root),
            stdout_on_stderr(),
            _quiet_log(told is not None),
            written_whole(),
            Repo(".", config=settings) as repo,
        ):
            _connect_once(repo)
            yield dataclasses.replace(_truthful(repo), told=told)
    except ReproductionError as error:
        raise _explained(error) from error
    except LockError as error:
        raise StorageError(f"{root}: another DVC process works here. Wait for it, or end it. ({error})") from error
    except RetortError:
        raise
    except DvcException as error:
        raise (explain(str(root), error) if is_passing(error) else None) or StorageError(
            f"{root}: DVC: {_causes(error)}{_REMOVE_LOCK if 'dvc.lock' in str(error) else ''}"
        ) from error
    except Exception as error:
        if not is_passing(error) or (known := explain(str(root), error)) is None:
            raise
        raise known from error


def _truthful(repo: Any) -> Workspace:
    """Let DVC know hashes by reading alone, and take nothing in its cache on trust."""
    from dvc.stage.cache import _get_stage_hash
    from dvc_data.hashfile.cache import HashesCache
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_data.hashfile.meta import Meta
    from dvc_objects.errors import ObjectFormatError

    def made(info: dict[str, Any], value: str) -> tuple[Any, Any]:
        return Meta.from_info(info), HashInfo("md5", value)

    kept = HashesCache(str(Path(repo.tmp_dir) / "retort-hashes")) if repo.tmp_dir else None
    hashes = TrueHashes(made, kept=kept, links=repo.state)
    cache = repo.cache.local

    def marked() -> frozenset[str]:
        mark = read_mark(repo.cloud.get_remote_odb(None, "run cache", hash_name="md5-dos2unix"))
        return mark.contents if mark else frozenset()

    contents = Contents(cache, lambda: repo.cloud.get_remote_odb(None, "fetch"), hashes, marked=marked)

    def check(oid: str, check_hash: bool = True, _info: Any = None) -> Any:
        info = cache.fs.info(cache.oid_to_path(oid))
        if check_hash and not contents.in_cache(oid):
            raise ObjectFormatError(f"{oid} is damaged in the cache")
        return Meta.from_info(info)

    def load(key: str, value: str) -> dict[str, Any] | None:
        file = Path(repo.stage_cache._get_cache_path(key, value))
        if not file.exists():
            return None
        if (record := parse_record(key, value, file.read_bytes())) is None:
            _log.warning("%s: this record of an equal run is damaged, so it is removed", file)
            file.unlink()
        return record

    def newest(stage: Any) -> dict[str, Any] | None:
        key = _get_stage_hash(stage)
        files = Path(repo.stage_cache._get_cache_dir(key)).glob("*")
        found = (load(key, file.name) for file in sorted(files, key=lambda file: file.stat().st_mtime, reverse=True))
        return next((record for record in found if record), None)

    repo.stage_cache._load_cache, repo.stage_cache._load = load, newest
    cache.check = check
    repo.state = cache.state = repo.cache.legacy.state = hashes
    return Workspace(repo, contents, hashes)


@contextlib.contextmanager
def _quiet_log(silent: bool) -> Iterator[None]:
    """DVC's log without its tracebacks, of 300 lines each: what failed is one line, and raised.

    With `silent` without its account of what it does, and without its bars, too.
    """

    def short(record: logging.LogRecord) -> bool:
        if record.exc_info:
            error = record.exc_info[1]
            record.msg, record.args = f"{record.getMessage()}: {error}", ()
            record.exc_info = record.exc_text = None
        return True

    names = ("dvc", "dvc_data", "dvc_objects")
    # DVC has handlers of its own; the root logger's, such as Kubeflow's, would show every line again.
    logging.getLogger("dvc").propagate = False
    handlers = {handler for name in (*names, "") for handler in logging.getLogger(name).handlers}
    for handler in handlers:
        handler.addFilter(short)
    # DVC's bars ask the level of their module's logger.
    bars = dict.fromkeys(("dvc.progress", "dvc_data.callbacks"), logging.CRITICAL)
    levels = {"dvc": logging.WARNING, **bars} if silent else {}
    before = {name: logging.getLogger(name).level for name in levels}
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
        for handler in handlers:
            handler.removeFilter(short)


def _connect_once(repo: Any) -> None:
    """Let DVC ask one connection to each remote; it would make a new one, of 0.1 s, for every kind of question."""
    connect, made = repo.cloud.get_remote, {}

    def get_remote(name: str | None = None, command: str = "") -> Any:
        name = name or repo.config["core"].get("remote")
        if name not in made:
            made[name] = connect(name, command)
        return made[name]

    repo.cloud.get_remote = get_remote


def _explained(error: Exception) -> Exception:
    """What DVC's failure to reproduce a stage means; a mistake in Retort stays what it is."""
    from dvc.exceptions import DvcException

    cause = error.__cause__
    if isinstance(cause, RetortError):
        return cause
    if isinstance(cause, Exception) and not isinstance(cause, DvcException):
        return (explain("DVC", cause) if is_passing(cause) else None) or cause
    task = re.search(r"'([^']+)'", str(error))
    code = re.search(r"failed to run: .*, exited with (-?\d+)$", str(cause), re.DOTALL)
    if task is None or code is None:
        return (explain("DVC", error) if is_passing(error) else None) or StorageError(f"DVC: {_causes(error)}")
    status = int(code[1])
    if (number := kill.signal_of(status)) is None:
        return StageError(task[1], status)
    if number == signal.SIGINT:
        return StoppedError(task[1])
    # A stage ended by a signal (out of memory, eviction) can be tried again.
    return StageError(task[1], RETRY, kill.words(number), killed=number == signal.SIGKILL)


def _causes(error: BaseException | None) -> str:
    words = []
    while error is not None:
        words.append(str(error))
        error = error.__cause__
    return ": ".join(words)


@contextlib.contextmanager
def stdout_on_stderr() -> Iterator[None]:
    """Send what this process and its children write to stdout to stderr instead."""
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        os.dup2(2, 1)
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
