"""Which contents somebody refers to, and who: what `retort gc` keeps.

A lock refers to what its tasks wrote and to the source files that they read; a folder that DVC knows refers to what its
locks and `.dvc` files name, in its branches and tags as well; a champion to all those that can be rolled back to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from retort.errors import IntegrityError
from retort.run import champion, dvc_adapter
from retort.run.contents import Wanted
from retort.run.dvc_adapter import Entry
from retort.run.dvc_workspace import Workspace, opened


@dataclass(frozen=True)
class Use:
    """A content that somebody refers to."""

    oid: str
    """MD5, with `.dir` for a folder, which refers to its files."""
    path: str
    by: str
    """Who: `run 1b2c...`, `runs/demo`, `runs/demo at v1.0`, `champion`."""
    stored: bool = True
    """Whether the object store should have it; what a workspace made is on its machine until it is pushed."""


def named(lock: Mapping[str, Entry]) -> list[Wanted]:
    """Outputs of a lock's tasks, then the source files that they read; code is no content of a store."""
    outs = [Wanted(out["path"], out["md5"], name) for name, entry in lock.items() for out in entry.get("outs", [])]
    made = {one.path for one in outs}
    deps = {dep["path"]: dep["md5"] for entry in lock.values() for dep in entry.get("deps", []) if "md5" in dep}
    sources = [
        Wanted(path, oid)
        for path, oid in sorted(deps.items())
        if path not in made and not path.startswith(f"{dvc_adapter.CODE}/")
    ]
    return outs + sources


def of_lock(lock: Mapping[str, Entry], by: str, *, stored: bool = True) -> list[Use]:
    """What a lock refers to."""
    return [Use(one.oid, one.path, by, stored) for one in named(lock)]


def of_folder(root: Path) -> list[Use]:
    """What a folder that DVC knows refers to: in its working tree and, where git keeps it, in its branches and tags.

    Raises:
        StorageError: DVC cannot read it.
    """
    found: list[Use] = []
    name = str(root)
    with opened(root) as here:
        repo = here.repo
        in_git = not repo.config["core"].get("no_scm")
        for revision in repo.brancher(all_branches=in_git, all_tags=in_git):
            by = name if revision in ("", "workspace") else f"{name} at {revision}"
            outs = [out for out in repo.index.outs if out.hash_info and out.use_cache]
            found += [Use(str(out.hash_info.value), str(out.def_path), by, stored=False) for out in outs]
            lock = repo.fs.join(repo.root_dir, "dvc.lock")
            if repo.fs.exists(lock):
                found += of_lock(_stages(repo.fs.cat_file(lock)), by, stored=False)
    for one in champion.decisions(root):
        if one["entry"]:
            found.append(Use(one["entry"]["md5"], champion.FOLDER, f"champion of {name}"))
    return found


def whole(here: Workspace, uses: Iterable[Use]) -> tuple[dict[str, str], list[Use]]:
    """All contents that are referred to, files of folders included, each with one who refers to it.

    Returns:
        Contents with who refers to them, and the folders whose list is nowhere, so that nothing is kept for them.

    Raises:
        IntegrityError: a folder's list is damaged, or the store should have it and has not: nobody knows its files.
    """
    kept: dict[str, str] = {}
    lost: list[Use] = []
    for use in uses:
        if use.oid in kept:
            continue
        kept[use.oid] = use.by
        if not use.oid.endswith(".dir"):
            continue
        try:
            here.contents.fetch_one(use.oid)
        except IntegrityError as error:
            if use.stored or use.oid in here.contents.damaged:
                raise IntegrityError(
                    f"{use.path}, which {use.by} refers to: the list of its files cannot be read, so it is not known "
                    f"which contents are its own; nothing was removed. `retort verify --repair` may mend it. {error}"
                ) from error
            lost.append(use)
            continue
        kept |= {oid: kept.get(oid, use.by) for oid in here.contents.listing(use.oid).values()}
    return kept, lost


def _stages(content: bytes) -> dict[str, Any]:
    return dict((yaml.safe_load(content) or {}).get("stages") or {})
