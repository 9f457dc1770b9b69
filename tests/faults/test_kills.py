"""SIGKILL at random moments, then the same again: the same hashes, and no work done twice that a checkpoint had."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from retort.config import RetortConfig, load_config
from retort.io.files import content_hash
from retort.run import dvc_adapter
from retort.run.graph import Graph, Task
from retort.run.tasks import graph
from retort.run.workspace import create
from tests.faults.table import FULL, Row
from tests.stage_processes import Ran, StageProcesses

CHECKOUT = Path(__file__).parents[2]
KILLS = 102 if FULL else 0
"""Kills over all tasks of the graph; in the shortened form one of a task of each stage."""
RUNS_KILLED = 20 if FULL else 2
"""Kills of a whole run with all its processes."""
SMALL = ("prompts.limit=40", "prompts.validation=12", "prompts.test=8", "sft.steps=6", "sft.checkpoint_steps=2")
SMALL += ("reward.steps=6", "reward.evaluate_steps=2", "reward.min_auc=0.0", "ppo.iterations=3")
SMALL += ("ppo.prompts_per_iteration=4", "ppo.minibatch_size=8")
"""What makes the smoke configuration small enough for the shortened form; the gate lets any reward model pass."""


@dataclass
class Smoke:
    """The smoke graph, run once undisturbed."""

    config: RetortConfig
    made: Graph
    fresh: Path
    """A workspace in which nothing has run."""
    whole: Path
    stages: StageProcesses
    ran: dict[str, Ran] = field(default_factory=dict)
    hashes: dict[str, dict[str, str]] = field(default_factory=dict)

    def run(self, task: Task, root: Path, kill_at: int = 0) -> Ran:
        return self.stages.run(task.stage.name, task.values, root, kill_at=kill_at)

    def before(self, task: Task, root: Path) -> None:
        """Make `root` a workspace in which `task` can run: all that it reads is there, nothing that it writes."""
        shutil.copytree(self.fresh, root, symlinks=True)
        for path in task.deps:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if (self.whole / path).is_dir() else shutil.copyfile
            copy(self.whole / path, root / path)


def written(task: Task, root: Path) -> dict[str, str]:
    """Hashes of what a task has written so far."""
    return {path: content_hash(root / path) for path in task.written if (root / path).exists()}


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    folder = tmp_path_factory.mktemp("smoke")
    with pytest.MonkeyPatch.context() as patch, StageProcesses() as stages:
        patch.chdir(CHECKOUT)
        config = load_config(CHECKOUT / "configs/smoke.yaml", changes=[] if FULL else list(SMALL))
        fresh, whole = folder / "fresh", folder / "whole"
        create(fresh, config, home=CHECKOUT, remote=str(folder / "remote"), cache=folder / "cache")
        shutil.copytree(fresh, whole, symlinks=True)
        found = Smoke(config, graph(config, CHECKOUT), fresh, whole, stages)
        for task in found.made:
            found.ran[task.address] = found.run(task, whole)
            found.hashes[task.address] = written(task, whole)
            assert found.hashes[task.address].keys() == set(task.written)
        yield found


def interval(config: RetortConfig, task: Task, work: int) -> int:
    """Pieces of work between two checkpoints of a task, and the one that is under way."""
    steps = {
        "sft": (config.sft.steps, config.sft.checkpoint_steps),
        "reward": (config.reward.steps, config.reward.evaluate_steps),
        "ppo": (config.ppo.iterations, config.ppo.checkpoint_every),
    }
    every, between = steps.get(task.stage.name, (1, 1))
    return between * max(1, work // every if task.stage.name in steps else 1) + 1


def chosen(made: Graph) -> list[Task]:
    """Tasks that are killed, as often as they stand here."""
    tasks = list(made)
    if KILLS:
        return [tasks[number % len(tasks)] for number in range(KILLS)]
    return list({task.stage.name: task for task in tasks}.values())


@pytest.mark.long
@pytest.mark.timeout(7200 if FULL else 1800)
def test_a_killed_stage_run_again_gives_the_same_and_repeats_no_more_than_since_its_checkpoint(
    smoke: Smoke, tmp_path: Path, row: Callable[[str, str], Row]
) -> None:
    rows: dict[str, Row] = {}
    resumed = 0
    for number, task in enumerate(chosen(smoke.made)):
        counts = rows.setdefault(task.stage.name, row(f"stage `{task.stage.name}`", "SIGKILL"))
        right, whole = smoke.hashes[task.address], smoke.ran[task.address]
        first_point = 1 if FULL or not whole.work else whole.calls // 2  # few kills: where there is a checkpoint
        point = random.Random(f"{task.address} {number}").randrange(first_point, whole.calls)
        root = tmp_path / str(number)
        smoke.before(task, root)
        first = smoke.run(task, root, point)
        assert first.killed, f"{task.address} never came to call {point} of {whole.calls}"
        counts.tried += 1
        left = written(task, root)
        partial = [path for path in task.outs if path in left and left[path] != right[path]]
        assert partial == [], f"{task.address}, killed at call {point}: half-written, but looks whole"
        second = smoke.run(task, root)
        assert written(task, root) == right, f"{task.address}, killed at call {point} of {whole.calls}"
        most = whole.work + interval(smoke.config, task, whole.work)
        assert first.work + second.work <= most, f"{task.address}, killed at call {point}: {first}, {second}, {whole}"
        resumed += second.work < whole.work
        counts.survived += 1
        shutil.rmtree(root)
    assert resumed >= (10 if FULL else 1)  # checkpoints were really gone on from


RUN = "import pathlib; from retort.run import dvc_adapter; dvc_adapter.reproduce(pathlib.Path('runs/toy'))"


@pytest.mark.long
@pytest.mark.timeout(7200 if FULL else 1800)
def test_a_run_killed_with_all_its_processes_goes_on_and_ends_with_the_same_lock(
    toy: Callable[..., Any], row: Callable[[str, str], Row]
) -> None:
    made = toy()
    counts = row("`retort run`, with DVC", "SIGKILL of all its processes")

    def fresh(name: str) -> Path:
        root = Path("runs") / name
        create(root, made.config, home=Path(), remote=f"runs/.remote-{name}", cache=Path(f"runs/.cache-{name}"))
        return root

    began = time.monotonic()
    whole = fresh("whole")
    subprocess.run([sys.executable, "-c", RUN.replace("runs/toy", "runs/whole")], check=True, capture_output=True)
    took = time.monotonic() - began
    right = dvc_adapter.read_lock(whole)
    shutil.rmtree("runs")
    drawn = random.Random(0)
    while counts.tried < RUNS_KILLED:
        root = fresh("toy")
        for _ in range(20):
            process = subprocess.Popen(
                [sys.executable, "-c", RUN],
                start_new_session=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            patience = drawn.uniform(0.1, 0.9) * took if counts.tried < RUNS_KILLED else None
            try:
                _, said = process.communicate(timeout=patience)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
                counts.tried += 1
            else:
                assert process.returncode == 0, f"a run that was killed before cannot go on: {said[-2000:]}"
                break
        assert dvc_adapter.read_lock(root) == right
        assert dvc_adapter.status(root) == {}
        counts.survived = counts.tried
        shutil.rmtree("runs")
