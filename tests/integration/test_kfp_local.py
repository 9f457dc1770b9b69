"""The compiled pipeline, run on this machine with toy stages: same tasks, same records, same contents as under DVC."""

import builtins
import os
from pathlib import Path

import pytest
from retort_pipelines.graph import local
from retort_pipelines.graph.compile import arguments
from retort_pipelines.graph.local import run_locally

from retort.config import load_config
from retort.errors import StageError
from retort.run import dvc_adapter
from retort.run.tasks import graph
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


@pytest.mark.timeout(900)
@pytest.mark.slow
def test_what_a_run_is_given_one_by_one_gives_what_submit_with_set_gives(toy):
    made = toy(students=TWO, evaluate={"models": ["ppo"]})
    root, told = (
        workspace(made, "kfp"),
        load_config(made.file, changes=["ppo.learning_rate=1.0e-05", "teacher_responses.samples=7", "prompts.limit=3"]),
    )
    create(Path("runs/dvc"), told, home=Path(), remote="runs/.remote-dvc", cache=Path("runs/.cache-dvc"))
    dvc_adapter.reproduce(Path("runs/dvc"))
    remote = dvc_adapter.remote(root)
    files = dvc_adapter.store(root, list(graph(made.config, root).sources))
    given = arguments(made.config, remote=remote, files=files, root=root)
    given |= {"ppo_learning_rate": 1e-05, "teacher_responses_samples": 7, "prompts_limit": 3}
    lock = local._run(made.config, graph(made.config, root), given, root, remote)
    assert lock == dvc_adapter.read_lock(Path("runs/dvc"))
    assert float(lock["ppo-ppo"]["params"]["params.yaml"]["ppo.learning_rate"]) == 1e-05  # a text, as DVC reads YAML


def test_values_that_do_not_go_together_are_refused_before_any_stage(toy):
    made = toy(students=TWO, evaluate={"models": ["ppo"]})
    root = workspace(made, "kfp")
    given = arguments(made.config, remote=dvc_adapter.remote(root), files={}, root=root)
    given |= {"ppo_learning_rate": -1.0, "prompts_limit": -2}
    with pytest.raises(StageError) as failure:
        local._run(made.config, graph(made.config, root), given, root, dvc_adapter.remote(root))
    assert failure.value.task == "parameters"
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
