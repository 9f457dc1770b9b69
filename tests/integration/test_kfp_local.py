"""The compiled pipeline, run on this machine with toy stages: same tasks, same records, same contents as under DVC."""

import builtins
import os
from pathlib import Path

import pytest
from retort_pipelines.graph.local import run_locally

from retort.errors import StageError
from retort.run import dvc_adapter
from retort.run.workspace import create

TWO = {"sft": {"method": "sft", "from": "base"}, "ppo": {"method": "ppo", "from": "sft"}}


def workspace(toy, name):
    root = Path("runs") / name
    create(root, toy.config, home=Path(), remote=f"runs/.remote-{name}", cache=Path(f"runs/.cache-{name}"))
    return root


@pytest.mark.timeout(900)
@pytest.mark.slow
def test_local_kubeflow_gives_what_dvc_gives_and_a_second_run_does_nothing(toy):
    made = toy(students=TWO, evaluate={"models": ["teacher", "ppo"]})
    by_dvc, by_kfp = workspace(made, "dvc"), workspace(made, "kfp")
    dvc_adapter.reproduce(by_dvc)
    expected = made.ran()
    # kfp.local replaces `print` while tasks run; of those that run side by side, the first to end may not be the first
    # to begin, and then it would stay replaced.
    printing = builtins.print
    assert sorted(run_locally(by_kfp)) == sorted(expected)
    assert builtins.print is printing
    assert sorted(made.ran()) == sorted(expected)
    assert dvc_adapter.read_lock(by_kfp) == dvc_adapter.read_lock(by_dvc)
    assert dvc_adapter.status(by_kfp) == {}
    report = "outputs/report/content.txt"
    assert (by_kfp / report).read_bytes() == (by_dvc / report).read_bytes()
    assert run_locally(by_kfp) == []
    assert dvc_adapter.reproduce(by_kfp) == []
    assert made.ran() == []


def test_a_failed_task_gives_its_exit_code_and_keeps_what_was_done(toy, monkeypatch, capfd):
    made = toy(students=TWO, evaluate={"models": ["ppo"]})
    root = workspace(made, "kfp")
    monkeypatch.setenv("TOY_FAIL", "models:65")
    with pytest.raises(StageError) as failure:
        run_locally(root)
    assert (failure.value.task, failure.value.exit_code) == ("models", 65)
    shown = capfd.readouterr()
    assert shown.out == ""
    assert shown.err.count("retort: models was told to fail.") == 1
    assert not {"RETORT_STATE", "RETORT_RUN", "RETORT_OPERATION"} & os.environ.keys()
    # The task beside it was done and is kept; nothing that follows was tried.
    assert set(made.ran()) == {"models", "prompts"}
