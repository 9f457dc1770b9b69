"""Training stages that are really killed (SIGKILL) and started again write what an uninterrupted run writes."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from retort.io.files import content_hash
from retort.rewards.learned import train
from retort.run.stage import read_task, run_stage
from tests.stage_processes import StageProcesses

Run = Callable[..., int]


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """`run(stage, root, kill_at=N)`: run a stage in a process of its own, killed at its N-th counted call if N > 0.

    Returns the number of calls; -1 if it was killed, which it is not where it ends before that call.
    """
    with StageProcesses() as stages:

        def ask(stage: str, root: Path, kill_at: int = 0) -> int:
            ended = stages.run(stage, VALUES[stage], root, kill_at=kill_at)
            return -1 if ended.killed else ended.calls

        yield ask


def written(root: Path, stage: str) -> dict[str, str]:
    task = read_task(stage, VALUES[stage], root)[0]
    return {part: content_hash(root / part) for part in task.written}


VALUES = {"sft": {"student": "sft"}, "reward": {"reward": "learned"}, "ppo": {"student": "ppo"}}
SETTINGS = {
    "sft": {"steps": 12, "checkpoint_steps": 3},
    "reward": {"steps": 16, "evaluate_steps": 4},
    "ppo": {"iterations": 8, "patience": 40, "evaluate_every": 2, "checkpoint_every": 2, "average": 0.5},
}


@pytest.mark.slow
@pytest.mark.timeout(900)  # two processes a point, each of which loads the libraries
@pytest.mark.parametrize(("stage", "points"), [("sft", 5), ("reward", 5), ("ppo", 10)])
def test_a_stage_kills_any_point_ends_as_if_nothing_had_happened(
    training_root, with_reward, tmp_path, run, stage, points
):
    make = with_reward if stage == "ppo" else training_root
    fresh = make("fresh", **{stage: SETTINGS[stage]})
    task = read_task(stage, VALUES[stage], fresh)[0]
    (out,) = task.outs
    shutil.rmtree(fresh / out, ignore_errors=True)
    whole = tmp_path / "whole"
    shutil.copytree(fresh, whole)
    calls = run(stage, whole)
    expected = written(whole, stage)
    kills, resumed = 0, 0
    for point in random.Random(stage).sample(range(1, calls), points):
        killed = tmp_path / "killed"
        shutil.copytree(fresh, killed)
        kills += run(stage, killed, kill_at=point) < 0
        # Nothing half-written: the model is whole or not there.
        model = killed / out
        assert not model.exists() or content_hash(model) == expected[out], point
        left = run(stage, killed)
        resumed += left < calls
        assert written(killed, stage) == expected, f"killed at call {point} of {calls}"
        assert not (killed / ".retort/state" / task.address).exists()
        shutil.rmtree(killed)
    assert kills >= 0.8 * points
    assert (
        resumed
    )  # those killed after the first checkpoint went on from it; loading the libraries is half of all calls


def test_state_of_other_parameters_is_not_resumed_from(training_root, monkeypatch):
    roots = [training_root(name, reward={"steps": steps}) for name, steps in (("one", 16), ("two", 8))]
    honest = train._step

    def step(*args, **kwargs):
        if kwargs["step"] == 10:
            raise KeyboardInterrupt
        return honest(*args, **kwargs)

    monkeypatch.setattr(train, "_step", step)
    with pytest.raises(KeyboardInterrupt):
        run_stage("reward", VALUES["reward"], roots[0])
    monkeypatch.setattr(train, "_step", honest)
    assert list((roots[0] / ".retort/state/reward-learned").glob("step-*.pt"))
    (roots[0] / "params.yaml").write_bytes((roots[1] / "params.yaml").read_bytes())
    for root in roots:
        run_stage("reward", VALUES["reward"], root)
    assert written(roots[0], "reward") == written(roots[1], "reward")
