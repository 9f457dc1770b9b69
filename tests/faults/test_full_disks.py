"""A disk that is full, or has no room for one more file, at any point of any stage: refused, and nothing half-written.

The workspace lies on a file system of its own, in memory, with so much room and no more; what follows has room again.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from retort.config import load_config
from retort.errors import RETRY
from retort.io.files import content_hash
from retort.run.tasks import graph
from retort.run.workspace import create
from tests.faults.table import FULL, Row
from tests.faults.test_kills import CHECKOUT, SMALL
from tests.stage_processes import StageProcesses

PAGE = os.sysconf("SC_PAGE_SIZE")
POINTS = 3 if FULL else 1
"""Points of each stage between no room at all and enough."""
PLENTY = 2**28


class Disk:
    """A file system of its own at `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={PLENTY}", "retort", str(root)], check=True)

    def used(self) -> dict[str, int]:
        """Pages and files in use."""
        found = os.statvfs(self.root)
        return {"size": found.f_blocks - found.f_bfree, "nr_inodes": found.f_files - found.f_ffree}

    def limit(self, what: str, most: int) -> None:
        """Let there be so many pages (`size`) or files (`nr_inodes`)."""
        value = most * PAGE if what == "size" else most
        subprocess.run(["mount", "-o", f"remount,{what}={value}", str(self.root)], check=True)

    def make_room(self) -> None:
        """Let there be enough."""
        self.limit("size", PLENTY // PAGE)
        self.limit("nr_inodes", 100_000)

    def empty(self) -> None:
        """Remove everything."""
        self.make_room()
        for one in self.root.iterdir():
            shutil.rmtree(one) if one.is_dir() and not one.is_symlink() else one.unlink()


def holds(path: Path) -> bool:
    """Whether there is a file, or a folder with one in it."""
    return path.is_file() or any(one.is_file() for one in path.rglob("*"))


@pytest.fixture
def disk() -> Iterator[Disk]:
    with tempfile.TemporaryDirectory() as folder:
        try:
            made = Disk(Path(folder) / "disk")
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("needs the right to mount a file system")
        try:
            yield made
        finally:
            subprocess.run(["umount", "-l", str(made.root)], check=True)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_disk_without_room_is_named_leaves_nothing_half_written_and_is_gone_on_from(
    disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: Callable[[str, str], Row]
) -> None:
    monkeypatch.chdir(CHECKOUT)
    config = load_config(CHECKOUT / "configs/smoke.yaml", changes=list(SMALL))
    made = graph(config, CHECKOUT)
    whole = tmp_path / "whole"
    create(whole, config, home=CHECKOUT, remote=str(tmp_path / "remote"), cache=tmp_path / "cache")
    seen = set()
    with StageProcesses() as stages:
        for task in made:
            root = disk.root / "work"
            shutil.copytree(whole, root, symlinks=True)
            before = disk.used()
            if task.stage.name not in seen:
                seen.add(task.stage.name)
                stages.run(task.stage.name, task.values, root)
                right = {path: content_hash(root / path) for path in task.written}
                needed = {what: count - before[what] for what, count in disk.used().items()}
                for what, fault in (("size", "no room for a byte more"), ("nr_inodes", "no room for a file more")):
                    counts = row(f"stage `{task.stage.name}`", fault)
                    for point in range(POINTS):
                        disk.empty()
                        shutil.copytree(whole, root, symlinks=True)
                        disk.limit(what, disk.used()[what] + point * needed[what] // POINTS)
                        ran = stages.run(task.stage.name, task.values, root, may_fail=True)
                        counts.tried += 1
                        there = {path: content_hash(root / path) for path in task.written if holds(root / path)}
                        words = f"{task.address}, {point} of {POINTS}: {ran}"
                        partial = [path for path in there if there[path] != right[path]]
                        assert not partial, f"{words}: half-written: {partial}"
                        if not ran.code:
                            assert there == right, words
                            counts.survived += 1
                            continue
                        assert ran.code == RETRY, words
                        assert str(disk.root) in ran.error or "outputs" in ran.error or ".retort" in ran.error, words
                        assert "Free space" in ran.error, words
                        disk.make_room()
                        stages.run(task.stage.name, task.values, root)
                        assert {path: content_hash(root / path) for path in task.written} == right, words
                        counts.refused += 1
            disk.empty()
            stages.run(task.stage.name, task.values, whole)
    assert {"sft", "reward", "ppo", "report"} <= seen
