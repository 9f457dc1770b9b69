"""The whole method with real stages: it learns, a second run does nothing, Kubeflow's graph gives the same."""

import json
import os
import sys
import time
from pathlib import Path

import pytest
from retort_pipelines.graph.local import run_locally

from retort.config import load_config
from retort.report.curves import read_curves
from retort.run import dvc_adapter
from retort.run.workspace import create

CHECKOUT = Path(__file__).parents[2]


def workspace(folder: Path, name: str) -> Path:
    """A workspace for the smoke configuration with a remote and a cache of its own: nothing is taken from elsewhere."""
    root = folder / name
    config = load_config(CHECKOUT / "configs/smoke.yaml")
    create(root, config, home=CHECKOUT, remote=str(folder / f"{name}-remote"), cache=folder / f"{name}-cache")
    return root


def metrics(root: Path, name: str) -> dict:
    return json.loads((root / "metrics" / f"{name}.json").read_text())


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_smoke_run_learns_repeats_nothing_and_is_the_same_under_kubeflow(tmp_path, monkeypatch):
    monkeypatch.chdir(CHECKOUT)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    by_dvc = workspace(tmp_path, "dvc")
    dvc_adapter.reproduce(by_dvc)

    losses = [value for _, value in read_curves(by_dvc / "curves/sft")["loss"]]
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])
    reward = metrics(by_dvc, "reward-learned")
    assert reward["gate_passed"]
    # Scores that know nothing have AUC 0.5; measured on teacher and student responses to prompts that chose nothing.
    assert reward["truth"]["auc"] > 0.7
    ppo = metrics(by_dvc, "ppo-ppo")
    assert "skipped" not in ppo
    assert ppo["iterations"] == 4
    report = json.loads((by_dvc / "outputs/report/metrics.json").read_text())
    assert set(report["models"]) == {"teacher", "base", "sft", "ppo"}
    assert report["models"]["teacher"]["accuracy"] > report["models"]["base"]["accuracy"]
    assert {"difference", "low", "high", "n"} <= set(report["paired"]["ppo_minus_sft"])

    started = time.monotonic()
    assert dvc_adapter.reproduce(by_dvc) == []
    # 10 s on a quiet machine are asked for; other tests run beside this one.
    assert time.monotonic() - started < 20

    # Every content hash of every output, made again from nothing by other processes: equal and repeatable.
    by_kfp = workspace(tmp_path, "kfp")
    run_locally(by_kfp)
    assert dvc_adapter.read_lock(by_kfp) == dvc_adapter.read_lock(by_dvc)
