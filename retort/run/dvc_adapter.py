"""The one adapter over DVC: everything that Retort asks of it, in this process, without its command line.

`dvc.repo.Repo` is not a public interface (DVC has none that reproduces or pushes), so it is used here alone and
`tests/integration/test_dvc_adapter.py` holds DVC to what this module expects. DVC's command line would cost 2 to 7
seconds a call.

DVC writes its log to stdout; here all of that goes to stderr, as stdout is for a command's data.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from retort.errors import RETRY, StageError, StorageError
from retort.io.files import write_text

Entry = dict[str, Any]
"""What DVC records of one file or folder: path, md5, size, nfiles."""

INPUTS = "inputs.dvc"
"""File that lists what a workspace receives from elsewhere by content hash."""

_SIGNALLED = 128
"""A shell gives a command that a signal ended this exit status plus the signal's number."""

IGNORED = ("__pycache__", "*.pyc", ".retort")
"""Patterns of `.dvcignore` in workspaces that Retort makes."""


def init(root: Path, *, remote: str, cache: Path | None = None, site_cache: Path | None = None) -> None:
    """Make `root` a DVC workspace without git; one that exists keeps its cache and gets these settings.

    Args:
        root: Folder of the workspace.
        remote: Folder or address of the object store.
        cache: Folder of the content cache, shared by several workspaces; the workspace's own when left out.
        site_cache: Folder of DVC's index and locks; the machine's when left out.
    """
    lines = ["[core]", "    no_scm = true", "    analytics = false", "    check_update = false", "    remote = store"]
    lines += [f"    site_cache_dir = {site_cache.resolve()}"] if site_cache else []
    lines += ["[cache]", f"    dir = {cache.resolve()}"] if cache else []
    url = remote if "://" in remote else str(Path(remote).resolve())
    lines += ["['remote \"store\"']", f"    url = {url}"]
    if (endpoint := os.environ.get("AWS_ENDPOINT_URL")) and url.startswith("s3://"):
        lines.append(f"    endpointurl = {endpoint}")
    write_text(root / ".dvc/config", "\n".join(lines) + "\n")
    write_text(root / ".dvcignore", "\n".join(IGNORED) + "\n")


def reproduce(root: Path) -> list[str]:
    """Bring every stage of the workspace up to date; return the addresses of those that ran or were restored.

    Raises:
        StageError: a stage failed; it has said why on stderr.
        StorageError: DVC itself failed.
    """
    with _opened(root) as repo:
        return [stage.addressing for stage in repo.reproduce()]


def reproduce_one(root: Path, address: str, *, force: bool = False) -> None:
    """Bring one stage up to date: fetch its inputs by hash, restore its outputs from an equal run, or run it.

    `Repo.reproduce(pull=True)` would copy the run cache of all that the remote ever saw, twice; here only what
    equals this stage's command, inputs and parameters is asked for, and only its own record is sent. With `force` the
    stage runs whatever is on record.

    Raises:
        StageError: the stage failed; it has said why on stderr.
        StorageError: an input is not in the remote, or DVC itself failed.
    """
    with _opened(root) as repo:
        stage = _with_inputs(repo, address)
        if not force:
            _copy_runs(repo, stage, push=False)
        repo.stage_cache.pull = lambda _remote: []
        repo.reproduce(address, single_item=True, pull=True, force=force)
        repo.push([address])
        _copy_runs(repo, repo.stage.collect(address)[0], push=True)


def fetch_inputs(root: Path, address: str) -> None:
    """Fetch what one stage reads, by hash.

    Raises:
        StorageError: an input is not in the remote.
    """
    with _opened(root) as repo:
        _with_inputs(repo, address)


def recorded(root: Path, address: str) -> bool:
    """Whether a run equal to this stage, inputs and parameters is on record; fetches the inputs to tell.

    Raises:
        StorageError: an input is not in the remote.
    """
    with _opened(root) as repo:
        stage = _with_inputs(repo, address)
        _copy_runs(repo, stage, push=False)
        return repo.stage_cache._load(stage) is not None


def fetch(root: Path, paths: Sequence[str] = ()) -> None:
    """Fetch and check out `paths`, or everything that the workspace's lock names.

    Raises:
        StorageError: something is not in the remote.
    """
    with _opened(root) as repo:
        repo.pull(list(paths) or None)
        # DVC leaves metrics that are kept in git to git; those of a run elsewhere are in its remote alone.
        for out in () if paths else repo.index.outs:
            if not out.use_cache and out.hash_info and out.changed_checksum():
                out.use_cache = True
                repo.cloud.pull([out.hash_info])
                out.checkout(force=True)


def remote(root: Path) -> str:
    """Folder or address of the workspace's remote."""
    with _opened(root) as repo:
        return str(repo.config["remote"][repo.config["core"]["remote"]]["url"])


def push(root: Path) -> None:
    """Send everything that the workspace's lock names to the remote, with the records of runs."""
    with _opened(root) as repo:
        repo.push(run_cache=True)


def status(root: Path) -> dict[str, Any]:
    """What differs from the lock, by stage; empty when the workspace is up to date."""
    with _opened(root) as repo:
        changed: dict[str, Any] = repo.status()
        return changed


def store(root: Path, names: Iterable[str]) -> dict[str, Entry]:
    """Put files and folders of the workspace, by their names there, into its remote; return their entries."""
    from dvc_data.hashfile.build import build
    from dvc_data.hashfile.transfer import transfer

    entries: dict[str, Entry] = {}
    with _opened(root) as repo:
        cache = repo.cache.local
        for name in names:
            tree: Any
            staging, meta, tree = build(cache, str(Path(name).resolve()), cache.fs, "md5")
            transfer(staging, cache, {tree.hash_info}, shallow=False)
            contents = [found for _, _, found in tree] if tree.hash_info.isdir else []
            repo.cloud.push([tree.hash_info, *contents])
            entries[name] = {"path": name, "hash": "md5", "md5": tree.hash_info.value, "size": meta.size}
            entries[name] |= {"nfiles": meta.nfiles} if meta.nfiles is not None else {}
    return entries


def write_inputs(root: Path, entries: Sequence[Entry]) -> None:
    """Let the workspace know of files and folders that it can fetch from the remote."""
    outs = sorted(entries, key=lambda entry: str(entry["path"]))
    if outs:
        write_text(root / INPUTS, yaml.safe_dump({"outs": outs}, sort_keys=False))


def read_lock(root: Path) -> dict[str, Entry]:
    """The lock entries of the workspace, by stage address."""
    file = root / "dvc.lock"
    stages = yaml.safe_load(file.read_text(encoding="utf-8")).get("stages") if file.exists() else None
    return dict(stages or {})


def write_lock(root: Path, stages: dict[str, Entry]) -> None:
    """Write the workspace's lock."""
    text = yaml.safe_dump({"schema": "2.0", "stages": dict(sorted(stages.items()))}, sort_keys=False)
    write_text(root / "dvc.lock", text)


def _with_inputs(repo: Any, address: str) -> Any:
    """The stage, when what it reads is here."""
    stage = repo.stage.collect(address)[0]
    if any(dep.def_path and not dep.exists for dep in stage.deps):
        repo.pull([INPUTS])  # of single files, DVC would look for each in every file of the workspace
    return stage


def _copy_runs(repo: Any, stage: Any, *, push: bool) -> None:
    """Copy the records of runs equal to `stage` between this workspace and its remote."""
    from dvc.stage.cache import _can_hash, _get_stage_hash

    if not push:
        stage.save_deps()
    if not _can_hash(stage):
        return
    key = _get_stage_hash(stage)
    local, remote = repo.cache.legacy, repo.cloud.get_remote_odb(None, "fetch --run-cache", hash_name="md5-dos2unix")
    source, target = (local, remote) if push else (remote, local)
    folder = source.fs.join(source.path, "runs", key[:2], key)
    if not source.fs.exists(folder):
        return
    for file in source.fs.find(folder):
        place = target.fs.join(target.path, "runs", key[:2], key, source.fs.name(file))
        with source.fs.open(file, "rb") as stream:
            content = stream.read()
        target.fs.makedirs(target.fs.parent(place), exist_ok=True)
        target.fs.pipe_file(place, content)


@contextlib.contextmanager
def _opened(root: Path) -> Iterator[Any]:
    from dvc.exceptions import DvcException, ReproductionError
    from dvc.lock import LockError
    from dvc.repo import Repo

    # DVC has handlers of its own; the root logger's, such as Kubeflow's, would show every line again.
    logging.getLogger("dvc").propagate = False
    git = any((folder / ".git").exists() for folder in (root.resolve(), *root.resolve().parents))
    # A source archive has the checkout's .dvc folder but no git.
    settings = None if git else {"core": {"no_scm": True}}
    try:
        with contextlib.chdir(root), stdout_on_stderr(), Repo(".", config=settings) as repo:
            _connect_once(repo)
            yield repo
    except ReproductionError as error:
        raise _explained(error) from error
    except LockError as error:
        raise StorageError(f"{root}: another DVC process works here. Wait for it, or end it. ({error})") from error
    except DvcException as error:
        raise StorageError(f"{root}: DVC: {_causes(error)}") from error


def _connect_once(repo: Any) -> None:
    """Let DVC ask one connection to each remote; it would make a new one, of 0.1 s, for every kind of question."""
    connect, made = repo.cloud.get_remote, {}

    def get_remote(name: str | None = None, command: str = "") -> Any:
        name = name or repo.config["core"].get("remote")
        if name not in made:
            made[name] = connect(name, command)
        return made[name]

    repo.cloud.get_remote = get_remote


def _explained(error: Exception) -> StageError | StorageError:
    task = re.search(r"'([^']+)'", str(error))
    code = re.search(r"failed to run: .*, exited with (-?\d+)$", str(error.__cause__), re.DOTALL)
    if task is None or code is None:
        return StorageError(f"DVC: {_causes(error)}")
    status = int(code[1])
    # A stage ended by a signal (out of memory, eviction) can be tried again.
    return StageError(task[1], RETRY if status < 0 or status > _SIGNALLED else status)


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
