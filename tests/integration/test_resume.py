"""Training stages that are really killed (SIGKILL) and started again write what an uninterrupted run writes."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from retort.files import content_hash
from retort.stages.context import run_stage


def kill_when(ready: Callable[[], bool], stage: str, root: Path) -> int:
    """Run `stage` in a process of its own and kill it as soon as `ready()`; the signal that ended it, or 0."""
    # Not a fork: a forked copy of a process that has run torch hangs on the locks of threads that it does not have.
    command = [sys.executable, "-m", "retort", "stage", stage, "--workspace", str(root)]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 200
    while not ready() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    child.kill()
    return -child.wait()


def written(root: Path, stage: str) -> dict[str, str]:
    return {
        part: content_hash(root / part)
        for part in (f"outputs/models/{stage}", f"metrics/{stage}.json", f"curves/{stage}")
    }


@pytest.mark.parametrize(
    ("stage", "settings", "checkpoint"),
    [
        ("sft", {"steps": 40, "checkpoint_steps": 5}, "checkpoints/checkpoint-*/trainer_state.json"),
        ("reward", {"steps": 60, "evaluate_steps": 5}, "step-*.pt"),
        ("ppo", {"iterations": 30, "patience": 40, "checkpoint_every": 2}, "step-*.pt"),
    ],
)
def test_a_killed_stage_goes_on_from_its_checkpoint_and_ends_as_if_nothing_had_happened(
    training_root, with_reward, stage, settings, checkpoint
):
    make = with_reward if stage == "ppo" else training_root
    whole, killed = make("whole", **{stage: settings}), make("killed", **{stage: settings})
    run_stage(stage, {}, whole)
    state = killed / ".retort/state" / stage
    made = (killed / f"outputs/models/{stage}").exists() and content_hash(killed / f"outputs/models/{stage}")
    ended = kill_when(lambda: bool(list(state.glob(checkpoint))), stage, killed)
    assert ended == signal.SIGKILL
    assert list(state.glob(checkpoint))
    # Nothing half-written: the output is what it was before, or not there.
    assert ((killed / f"outputs/models/{stage}").exists() and content_hash(killed / f"outputs/models/{stage}")) == made
    run_stage(stage, {}, killed)
    assert written(killed, stage) == written(whole, stage)
    assert not state.exists()


def test_state_of_other_parameters_is_not_resumed_from(training_root):
    roots = [training_root(name, reward={"steps": steps}) for name, steps in (("one", 60), ("two", 8))]
    state = roots[0] / ".retort/state/reward"
    assert kill_when(lambda: bool(list(state.glob("step-*.pt"))), "reward", roots[0]) == signal.SIGKILL
    (roots[0] / "params.yaml").write_bytes((roots[1] / "params.yaml").read_bytes())
    for root in roots:
        run_stage("reward", {}, root)
    assert written(roots[0], "reward") == written(roots[1], "reward")
