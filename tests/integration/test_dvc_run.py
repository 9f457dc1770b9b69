"""`retort run` as its user sees it, with toy stages: data on stdout, the rest on stderr, exit codes that last."""

import subprocess
import sys
from pathlib import Path

import pytest

RETORT = [sys.executable, "-m", "retort", "run"]


@pytest.fixture
def run(toy, monkeypatch):
    """Run the verb in this process with the toy's `retort` first on PATH, without the report that needs real stages."""
    import retort.cli.report
    from retort.cli.run import run as verb

    made = toy()
    monkeypatch.setattr(sys, "executable", str(made.log.parent / "bin/python"))
    monkeypatch.setattr(retort.cli.report, "report", lambda **_: print("the report"))
    return made, lambda **options: verb(**{"config": made.file, "check": False, **options})


def test_a_run_gets_a_workspace_named_by_its_configuration(run, capfd):
    made, verb = run
    verb()
    shown = capfd.readouterr()
    assert shown.out.split("\n") == ["the report", ""]  # a list shows what a terminal hides
    assert "runs/toy: 17 tasks ran" in shown.err
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
