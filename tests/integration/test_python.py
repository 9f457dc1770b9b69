"""Retort from Python: the interface, in a script without a main guard, and the notebook."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import pytest

import retort
from retort.errors import ConfigError

CHECKOUT = Path(__file__).parents[2]
NOTEBOOK = CHECKOUT / "docs/notebooks/tour.ipynb"


def python(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a script of a user's, as a file."""
    (folder / "script.py").write_text(textwrap.dedent(text))
    return subprocess.run(
        [sys.executable, "script.py"], cwd=folder, capture_output=True, text=True, check=False, env=os.environ
    )


def test_a_vote_elects_what_most_responses_say_and_abstains_on_a_tie() -> None:
    won, tie, unread = retort.vote([["#### 72", "is 72.0", "#### 70"], ["#### 5", "#### 6"], ["who knows"]])
    assert (won.label, won.votes, won.total, won.abstained) == ("72", 2, 3, False)
    assert (won.share, won.margin) == (pytest.approx(2 / 3), pytest.approx(1 / 3))
    assert tie.abstained
    assert unread.abstained
    assert retort.vote([["#### 72", "is 72.0", "#### 70"]], min_share=0.7)[0].abstained
    with pytest.raises(ValueError, match="a judge elects one"):
        retort.vote([["a"]], "open")


def test_scores_are_of_the_answers_that_responses_state() -> None:
    found = retort.score(["#### 72", "so it is 71", "who knows", "= 1,000"], ["72", "72", "72", "1000"])
    assert [row.right for row in found.rows] == [True, False, False, True]
    assert (found.accuracy, found.unread) == (0.5, 1)
    assert found.low < 0.5 < found.high
    with pytest.raises(ValueError, match="one gold answer a response"):
        retort.score(["a"], [])


def test_a_script_without_a_main_guard_reads_in_several_processes_and_runs_once(tmp_path: Path) -> None:
    done = python(
        """
        import retort
        print("begun")
        found = retort.vote([[f"#### {n % 7}"] * 3 for n in range(3000)])
        print([one.label for one in found[:3]], len(found))
        """,
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "begun\n['0', '1', '2'] 3000\n"


def test_loading_the_package_loads_nothing_heavy_and_unknown_names_are_said(tmp_path: Path) -> None:
    done = python("import sys, retort; print('torch' in sys.modules, 'retort.interface' in sys.modules)", tmp_path)
    assert done.stdout == "False False\n"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = retort.nothing
    assert {"vote", "score", "run", "runs", "Run"} <= set(dir(retort))


@pytest.mark.timeout(900)
def test_a_run_is_run_looked_at_and_found_again(toy, monkeypatch: pytest.MonkeyPatch) -> None:
    made = toy()
    monkeypatch.setattr(sys, "executable", str(made.log.parent / "bin/python"))
    run = retort.run("toy.yaml", name="one")
    assert made.ran()
    assert run.folder == Path("runs/one")
    assert (run.about.state, run.about.seconds is not None) == ("succeeded", True)
    again = retort.run(run.config, name="one")
    assert (again.about.state, made.ran()) == ("succeeded", [])
    changed = retort.run("toy.yaml", name="two", changes=["report.title=Other"])
    assert made.ran() == ["report"]
    assert {one.name for one in retort.runs()} == {"one", "two"}
    assert changed.diff("one").parameters == {"report.title": ("Other", run.config.report.title)}
    with pytest.raises(ConfigError, match="needs a name"):
        retort.run(run.config)
    with pytest.raises(ConfigError, match="did you mean 'one'"):
        retort.Run("onne")


def cells() -> Sequence[str]:
    """The notebook's code."""
    notebook = json.loads(NOTEBOOK.read_text())
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_the_notebook_runs_from_top_to_bottom_in_an_empty_folder(tmp_path: Path) -> None:
    done = python("\n".join(cells()) + "\nassert run.figures['items'] == 40\nprint('done')", tmp_path)
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.splitlines()[-1] == "done"


def test_the_notebook_keeps_no_output_of_one_machine() -> None:
    notebook = json.loads(NOTEBOOK.read_text())
    assert all(not cell.get("outputs") and not cell.get("execution_count") for cell in notebook["cells"])
