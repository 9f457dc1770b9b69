"""`retort run` as its user sees it, with toy stages: data on stdout, the rest on stderr, exit codes that last."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from retort.config import load_config
from retort.errors import INTERRUPTED
from retort.io.files import content_hash
from retort.run import dvc_adapter, workspace
from retort.run.tasks import graph

RETORT = [sys.executable, "-m", "retort", "run"]


@pytest.fixture
def run(toy, monkeypatch):
    """Run the verb in this process with the toy's `retort` first on PATH, without the report that needs real stages."""
    import retort.cli.show
    from retort.cli.run import run as verb

    made = toy()
    monkeypatch.setattr(sys, "executable", str(made.log.parent / "bin/python"))
    monkeypatch.setattr(retort.cli.show, "show_run", lambda *_, **__: print("the report"))
    return made, lambda **options: verb(**{"config": made.file, "check": False, **options})


def test_a_run_gets_a_workspace_named_by_its_configuration(run, capfd):
    made, verb = run
    verb()
    shown = capfd.readouterr()
    assert shown.out.split("\n") == ["the report", ""]  # a list shows what a terminal hides
    assert "runs/toy: 21 tasks ran" in shown.err
    made.ran()
    verb()
    assert "nothing has changed since the last run" in capfd.readouterr().err
    verb(changes=["ppo.iterations=7"])
    assert "ppo-ppo" in made.ran()
    assert Path("runs/toy/outputs/report").is_dir()


def test_a_second_name_takes_from_the_cache_what_is_the_same(run):
    made, verb = run
    verb()
    made.ran()
    verb(name="other", changes=["report.title=Other"])
    assert made.ran() == ["report"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--config", "none.yaml"], 64, "none.yaml: does not exist"),
        (["--set", "ppo.iterations=1"], 64, "--set and --name need --config"),
        (["--config", "toy.yaml", "--name", "../x"], 64, "use letters"),
        ([], 64, "`retort init` begins a project here"),
        (["--config", "toy.yaml"], 64, "would stop the run, so nothing was started"),
    ],
)
def test_what_cannot_run_is_refused_in_one_line_with_a_stable_code(toy, arguments, code, words):
    made = toy()
    shown = subprocess.run([*RETORT, *arguments], cwd=made.home, capture_output=True, text=True, check=False)
    assert (shown.returncode, shown.stdout) == (code, "")
    assert words in shown.stderr
    assert shown.stderr.splitlines()[-1].startswith("retort: ")
    assert "Traceback" not in shown.stderr
    assert not (made.home / "runs").exists()


def test_a_task_gets_one_line_and_dvc_says_nothing(run, capfd):
    made, verb = run
    tasks = sorted(task.address for task in graph(made.config))

    def shown() -> list[list[str]]:
        """Words of each line on stderr but those that the toy's tasks print."""
        return [line.split() for line in capfd.readouterr().err.splitlines() if not line.startswith("task:")]

    verb()
    *lines, _ = shown()
    assert sorted(line[0] for line in lines) == tasks
    verb(name="other", changes=["report.title=Other"])
    *lines, _ = shown()
    assert {line[0]: line[1] for line in lines if line[1] == "restored"} == dict.fromkeys(
        [name for name in tasks if name != "report"], "restored"
    )
    verb(name="fourth", quiet=True, changes=["report.title=Third"])
    assert shown() == []


def test_ctrl_c_says_what_is_kept_and_the_same_command_goes_on(toy, monkeypatch):
    made = toy()
    monkeypatch.setenv("TOY_SLEEP", "votes")
    command = (
        f"import sys; sys.executable = {str(made.log.parent / 'bin/python')!r}; from retort.cli.app import main; main()"
    )
    started = subprocess.Popen(
        [sys.executable, "-c", command, "run", "--no-check", "--config", "toy.yaml"],
        cwd=made.home, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not (made.log.exists() and "votes" in made.log.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(0.5)
    os.killpg(started.pid, signal.SIGINT)
    _, err = started.communicate(timeout=60)
    assert started.returncode == INTERRUPTED
    count = len(graph(made.config).tasks)
    assert re.search(rf"retort: stopped by Ctrl-C in votes\. \d+ of {count} tasks are done and kept\.", err)
    assert "The same command goes on from there." in err
    assert made.ran()[-1] == "votes"


def test_two_projects_that_share_a_store_keep_out_of_each_other_s_way(toy, tmp_path):
    made, shared, written = toy(), str(tmp_path / "shared"), {}
    roots = {"one": ["seed=1"], "two": ["seed=2"], "twin": ["seed=1"]}
    for name, changes in roots.items():
        root = tmp_path / name / "run"
        workspace.create(
            root,
            load_config(made.file, changes=changes),
            home=made.home,
            remote=shared,
            cache=tmp_path / name / "cache",
        )
        dvc_adapter.reproduce(root)
        dvc_adapter.push(root)
        written[name] = content_hash(root / "outputs")
    assert written["one"] == written["twin"] != written["two"]
    for name in roots:
        shutil.rmtree(tmp_path / name / "run/outputs")
        shutil.rmtree(tmp_path / name / "cache")
        dvc_adapter.fetch(tmp_path / name / "run")
        assert content_hash(tmp_path / name / "run/outputs") == written[name]
        assert dvc_adapter.status(tmp_path / name / "run") == {}


def test_a_failed_stage_says_why_once_and_its_exit_code_comes_through(toy, monkeypatch):
    made = toy()
    monkeypatch.setenv("TOY_FAIL", "models:65")
    # `-m retort` of another interpreter would put the real command first on PATH; a copy of the toy takes its place.
    command = (
        f"import sys; sys.executable = {str(made.log.parent / 'bin/python')!r}; from retort.cli.app import main; main()"
    )
    shown = subprocess.run(
        [sys.executable, "-c", command, "run", "--no-check", "--config", "toy.yaml"],
        cwd=made.home, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (shown.returncode, shown.stdout) == (65, "")
    assert shown.stderr.count("models was told to fail") == 1
    assert "Traceback" not in shown.stderr
    assert "What was done before it is kept" in shown.stderr
