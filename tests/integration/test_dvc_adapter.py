"""What Retort expects of DVC, held against the installed DVC with toy stages that take no time."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from dvc.data_cloud import DataCloud

from retort.config import load_config
from retort.errors import DO_NOT_RETRY, RETRY, IntegrityError, StageError, StorageError
from retort.pod import lock_fragments, task
from retort.pod.settings import settings
from retort.run import dvc_adapter
from retort.run.tasks import graph
from retort.run.workspace import adopt, create


def workspace(toy, name="toy", changes=()):
    root = Path("runs") / name
    config = load_config(toy.file, changes=changes)
    create(root, config, home=Path(), remote="runs/.remote", cache=Path(f"runs/.cache-{name}"))
    return root


def test_every_task_of_the_graph_runs_once_and_then_nothing_does(toy):
    made = toy()
    root = workspace(made)
    every = {task.address for task in graph(made.config, made.home)}
    assert set(dvc_adapter.reproduce(root)) == every
    assert sorted(made.ran()) == sorted(every)
    assert dvc_adapter.reproduce(root) == []
    assert made.ran() == []
    assert dvc_adapter.status(root) == {}


def test_a_changed_ppo_parameter_reruns_ppo_and_what_follows_only(toy):
    made = toy()
    dvc_adapter.reproduce(workspace(made))
    made.ran()
    dvc_adapter.reproduce(workspace(made, changes=["ppo.iterations=7"]))
    assert sorted(made.ran()) == [
        "evaluate-ppo-heldout",
        "evaluate-sft_more-heldout",
        "ppo-ppo",
        "report",
        "sft-sft_more",
    ]


def test_a_failed_stage_gives_its_exit_code_and_keeps_what_was_done(toy, monkeypatch, capfd):
    made = toy()
    monkeypatch.setenv("TOY_FAIL", "reward-learned:65")
    with pytest.raises(StageError) as failure:
        dvc_adapter.reproduce(workspace(made))
    assert (failure.value.task, failure.value.exit_code) == ("reward-learned", 65)
    shown = capfd.readouterr()
    assert shown.out == ""
    assert shown.err.count("retort: reward-learned was told to fail.") == 1
    assert "Traceback" not in shown.err
    done = made.ran()
    monkeypatch.delenv("TOY_FAIL")
    dvc_adapter.reproduce(workspace(made))
    assert set(made.ran()).isdisjoint(set(done) - {"reward-learned"})


def test_a_stage_ended_by_a_signal_may_be_tried_again(toy):
    made = toy()
    command = Path(made.log.parent / "bin/retort")
    command.write_text("#!/bin/sh\nkill -9 $$\n")
    with pytest.raises(StageError) as failure:
        dvc_adapter.reproduce(workspace(made))
    assert failure.value.exit_code == RETRY
    assert failure.value.killed
    assert "killed by signal 9 (SIGKILL)" in str(failure.value)


def test_another_machine_fetches_everything_that_was_pushed(toy):
    made = toy()
    root = workspace(made)
    dvc_adapter.reproduce(root)
    dvc_adapter.push(root)
    other = workspace(made, "other")
    dvc_adapter.write_lock(other, dvc_adapter.read_lock(root))
    dvc_adapter.fetch(other)
    assert dvc_adapter.status(other) == {}
    assert (other / "outputs/models/ppo/content.txt").read_bytes() == (
        root / "outputs/models/ppo/content.txt"
    ).read_bytes()


def test_what_is_not_in_the_remote_is_named_with_the_stage_that_makes_it(toy):
    made = toy()
    root = workspace(made)
    dvc_adapter.reproduce(root)
    other = workspace(made, "other")
    dvc_adapter.write_lock(other, dvc_adapter.read_lock(root))
    with pytest.raises(IntegrityError, match=r"outputs/prompts \(which stage prompts made\) is missing: /") as refused:
        dvc_adapter.fetch(other)
    assert refused.value.exit_code == DO_NOT_RETRY


def test_a_pod_fetches_what_its_stage_reads_and_connects_to_the_store_once(toy, monkeypatch):
    made = toy()
    root = workspace(made)
    dvc_adapter.reproduce(root)
    dvc_adapter.push(root)
    lock, remote = dvc_adapter.read_lock(root), str(Path("runs/.remote").resolve())
    connections, connect = [], DataCloud.get_remote

    def counted(self, name=None, command=""):
        connections.append(name)
        return connect(self, name, command)

    monkeypatch.setattr(DataCloud, "get_remote", counted)
    monkeypatch.setenv("RETORT_FORCE", "1")
    made.ran()
    told = settings(made.config, graph(made.config, made.home).groups["report"], {}, remote=remote)
    fragment = task.run(told.to_json(), [lock_fragments.save(lock, remote)])
    assert made.ran() == ["report"]
    assert lock_fragments.load(fragment, remote)["report"]["outs"] == lock["report"]["outs"]
    assert connections == ["store"]


def test_curves_of_every_training_stage_are_plots_over_steps(toy):
    root = workspace(toy())
    dvc_adapter.reproduce(root)
    shown = subprocess.run(
        [sys.executable, "-m", "dvc", "plots", "show", "--json"], cwd=root, capture_output=True, check=True, text=True
    )
    plots = json.loads(shown.stdout)["data"]
    for stage in ("sft", "learned", "ppo", "sft_more"):
        (plot,) = plots[f"curves/{stage}/plots/metrics/loss.tsv"]
        assert plot["content"]["encoding"]["x"]["field"] == "step"
        assert [row["loss"] for row in plot["content"]["data"]["values"]] == ["2.0", "1.0"]


def test_a_second_dvc_in_one_workspace_is_refused_with_the_reason(toy):
    from dvc.repo import Repo

    root = workspace(toy())
    with Repo(str(root)) as repo, repo.lock, pytest.raises(StorageError, match="another DVC process"):
        dvc_adapter.status(root)


def test_the_lock_holds_every_parameter_of_a_stage_and_no_other(toy):
    made = toy()
    root = workspace(made)
    dvc_adapter.reproduce(root)
    entry = dvc_adapter.read_lock(root)["votes"]
    assert set(entry["params"]["params.yaml"]) == {
        *("answer", "rewards.learned.type", "seed", "teacher_responses.shards", "votes")
    }
    assert set(entry["params"]["code.yaml"]) == {"votes"}
    assert yaml.safe_load((root / "params.yaml").read_text())["votes"] == entry["params"]["params.yaml"]["votes"]


def test_a_project_in_git_is_a_full_dvc_project_outside_any_checkout(toy):
    """Parameters and metrics are compared by DVC itself, and an experiment changes a parameter."""
    made = toy()
    (made.home / "ran").mkdir()

    def call(*command):
        done = subprocess.run(command, cwd=made.home, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    dvc = (sys.executable, "-m", "dvc")
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    call("git", "init", "-q")
    call(*dvc, "init", "-q")
    adopt(made.file, made.home)
    call(*dvc, "repro", "-q")
    call("git", "add", "-A")
    call("git", *identity, "commit", "-qm", "first")
    assert made.ran()
    call(*dvc, "exp", "run", "-q", "-S", "ppo.iterations=7")
    assert sorted(made.ran()) == [
        *("evaluate-ppo-heldout", "evaluate-sft_more-heldout", "ppo-ppo", "report", "sft-sft_more")
    ]
    assert "ppo.iterations" in call(*dvc, "params", "diff")
    # Metrics to DVC are the run's summary alone, so that a difference fits a screen.
    assert "metrics/summary.json" in call(*dvc, "metrics", "diff")
    assert "metrics/ppo-ppo.json" not in call(*dvc, "metrics", "diff")
