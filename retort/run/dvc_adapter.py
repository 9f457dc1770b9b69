"""The one adapter over DVC: everything that Retort asks of it, in this process, without its command line.

`dvc.repo.Repo` is not a public interface (DVC has none that reproduces or pushes), so it is used here and in
`retort.run.dvc_workspace` alone, and
`tests/integration/test_dvc_adapter.py` holds DVC to what this module expects. DVC's command line would cost 2 to 7
seconds a call.

What is read is what was recorded: see `retort.run.dvc_workspace`. A store that is away is waited for inside
`retort.io.outages.patient`.

DVC writes its log to stdout; here all of that goes to stderr, as stdout is for a command's data.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from retort.io.files import write_text
from retort.io.outages import TIMEOUTS_S, patiently
from retort.run import run_cache
from retort.run.contents import Wanted
from retort.run.dvc_workspace import Told, Workspace, opened, parse_record, stdout_on_stderr

Entry = dict[str, Any]
"""What DVC records of one file or folder: path, md5, size, nfiles; of an input, in `meta`, the stage that made it."""

INPUTS = "inputs.dvc"
"""File that lists what a workspace receives from elsewhere by content hash."""

CODE = "retort"
"""Folder of the package in a workspace: dependencies of stages, but no contents of a store."""

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
    # For those who call DVC itself: without it, DVC takes what it fetches on trust.
    lines += ["['remote \"store\"']", f"    url = {url}", "    verify = true"]
    if url.startswith("s3://"):
        lines += [f"    {name} = {seconds}" for name, seconds in TIMEOUTS_S.items()]
        if endpoint := os.environ.get("AWS_ENDPOINT_URL"):
            lines.append(f"    endpointurl = {endpoint}")
    write_text(root / ".dvc/config", "\n".join(lines) + "\n")
    write_text(root / ".dvcignore", "\n".join(IGNORED) + "\n")


def init_project(root: Path, *, git: bool) -> None:
    """Make `root` a DVC project that its user versions: cache and object store in folders of its own.

    Args:
        root: Folder of the project.
        git: Whether it lies in a git repository, which then keeps the lock and the metrics.
    """
    lines = ["[core]", *([] if git else ["    no_scm = true"]), "    analytics = false", "    autostage = false"]
    lines += ["    check_update = false", "    remote = store"]
    lines += ["['remote \"store\"']", "    url = ../.dvc-remote", "    verify = true"]
    write_text(root / ".dvc/config", "\n".join(lines) + "\n")
    write_text(root / ".dvc/.gitignore", "/config.local\n/tmp\n/cache\n")
    if not (root / ".dvcignore").exists():
        write_text(root / ".dvcignore", "\n".join((*IGNORED, ".venv", "runs", ".dvc-remote")) + "\n")


def cache(root: Path) -> Path:
    """Folder of the workspace's content cache."""
    with opened(root) as here:
        return Path(here.repo.cache.local_cache_dir)


def reproduce(root: Path, *, told: Told | None = None) -> list[str]:
    """Bring every stage of the workspace up to date; return the addresses of those that ran or were restored.

    Args:
        root: The workspace.
        told: Hears of each stage; left out, DVC itself says what it does.

    Raises:
        StoppedError: the user pressed Ctrl-C.
        StageError: a stage failed; it has said why on stderr.
        IntegrityError: an input of a stage is not what was recorded.
        StorageError: DVC itself failed.
    """
    with opened(root, told=told) as here:
        return [stage.addressing for stage in here.repo.reproduce(repro_fn=here.reproduce_stage)]


def reproduce_one(root: Path, address: str, *, force: bool = False) -> None:
    """Bring one stage up to date: fetch its inputs by hash, restore its outputs from an equal run, or run it.

    `Repo.reproduce(pull=True)` would copy the run cache of all that the remote ever saw, twice; here only what
    equals this stage's command, inputs and parameters is asked for, and only its own record is sent. With `force` the
    stage runs whatever is on record, and what it makes replaces what the remote has.

    Raises:
        StageError: the stage failed; it has said why on stderr.
        IntegrityError: an input is missing or damaged.
        StorageError: the remote is away, or DVC itself failed.
    """
    with opened(root) as here:
        stage = _with_inputs(here, address)
        if not force:
            here.restore(stage)
        here.repo.reproduce(address, single_item=True, force=force, repro_fn=here.reproduce_stage)
        stage = here.repo.stage.collect(address)[0]
        here.send(stage.outs, replace=force)
        here.copy_runs(stage, push=True)


def fetch_inputs(root: Path, address: str) -> None:
    """Fetch what one stage reads, by hash.

    Raises:
        IntegrityError: an input is missing or damaged.
    """
    with opened(root) as here:
        _with_inputs(here, address)


def recorded(root: Path, address: str) -> bool:
    """Whether a run equal to this stage, inputs and parameters is on record, its outputs whole; fetches both to tell.

    Raises:
        IntegrityError: an input is missing or damaged.
    """
    with opened(root) as here:
        return here.restore(_with_inputs(here, address))


def fetch(root: Path, paths: Sequence[str] = ()) -> None:
    """Fetch and check out `paths`, or everything that the workspace's lock names.

    Raises:
        IntegrityError: something is missing in the remote, or damaged there.
        StorageError: the remote is away.
    """
    with opened(root) as here:
        # DVC leaves metrics that are kept in git to git; those of a run elsewhere are in its remote alone.
        here.bring([out for out in here.outs(paths) if out.use_cache or (not out.exists or out.changed_checksum())])


def remote(root: Path) -> str:
    """Folder or address of the workspace's remote."""
    with opened(root) as here:
        return str(here.repo.config["remote"][here.repo.config["core"]["remote"]]["url"])


def push(root: Path) -> None:
    """Send everything that the workspace's lock names to the remote, with the records of runs.

    Raises:
        IntegrityError: something is missing in the cache, or damaged there.
    """
    with opened(root) as here:
        here.send(here.outs())
        for key in sorted({key for key, _ in here.runs_here.names()}):
            run_cache.copy(here.runs_here, here.runs_there, key, parse_record)


def status(root: Path) -> dict[str, Any]:
    """What differs from the lock, by stage; empty when the workspace is up to date."""
    with opened(root) as here:
        changed: dict[str, Any] = here.repo.status()
        return changed


def store(root: Path, names: Iterable[str]) -> dict[str, Entry]:
    """Put files and folders of the workspace, by their names there, into its remote; return their entries."""
    from dvc_data.hashfile.build import build
    from dvc_data.hashfile.transfer import transfer

    entries: dict[str, Entry] = {}
    with opened(root) as here:
        cache = here.repo.cache.local
        for name in names:
            tree: Any
            staging, meta, tree = build(cache, str(Path(name).resolve()), cache.fs, "md5")
            transfer(staging, cache, {tree.hash_info}, shallow=False)
            wanted = [Wanted(name, tree.hash_info.value)]
            patiently(f"sending {name}", lambda wanted=wanted: here.contents.send(wanted))  # type: ignore[misc]
            entries[name] = {"path": name, "hash": "md5", "md5": tree.hash_info.value, "size": meta.size}
            entries[name] |= {"nfiles": meta.nfiles} if meta.nfiles is not None else {}
    return entries


def write_inputs(root: Path, entries: Sequence[Entry]) -> None:
    """Let the workspace know of files and folders that it can fetch from the remote."""
    outs = sorted(entries, key=lambda entry: str(entry["path"]))
    if outs:
        write_text(root / INPUTS, yaml.safe_dump({"outs": outs}, sort_keys=False))


def fetch_sources(root: Path) -> None:
    """Fetch what `write_inputs` told of."""
    with opened(root) as here:
        here.bring(here.outs([INPUTS]))


def read_lock(root: Path) -> dict[str, Entry]:
    """The lock entries of the workspace, by stage address."""
    file = root / "dvc.lock"
    stages = yaml.safe_load(file.read_text(encoding="utf-8")).get("stages") if file.exists() else None
    return dict(stages or {})


def write_lock(root: Path, stages: dict[str, Entry]) -> None:
    """Write the workspace's lock."""
    text = yaml.safe_dump({"schema": "2.0", "stages": dict(sorted(stages.items()))}, sort_keys=False)
    write_text(root / "dvc.lock", text)


def _with_inputs(here: Workspace, address: str) -> Any:
    """The stage, when what it reads is here."""
    stage = here.repo.stage.collect(address)[0]
    if (Path(here.repo.root_dir) / INPUTS).exists():
        here.bring(here.outs([INPUTS]))
    return stage


__all__ = [
    "CODE",
    "INPUTS",
    "Entry",
    "cache",
    "fetch",
    "fetch_inputs",
    "init",
    "init_project",
    "push",
    "read_lock",
    "recorded",
    "remote",
    "reproduce",
    "reproduce_one",
    "status",
    "stdout_on_stderr",
    "store",
    "write_inputs",
    "write_lock",
]
