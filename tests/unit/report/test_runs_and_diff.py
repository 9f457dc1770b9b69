"""`retort runs` and `retort diff`: runs listed with their figures, and two of them compared."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from retort.cli.app import app
from retort.report.metrics import FIGURES
from retort.report.runs import lines, local_runs
from retort.run.paths import Paths
from retort.run.record import Record, read_record, recorded, who, write_record
from retort.run.stage import run_stage

Make = Callable[..., Path]


@pytest.fixture
def home(finished_run: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two runs: `one`, and `two` with another setting, other code of a task, and a better student."""
    monkeypatch.chdir(tmp_path)
    for name, ppo, steps in (("one", [True] * 15 + [False] * 5, 10), ("two", [True] * 20, 20)):
        shares = {"teacher": [True] * 14 + [False] * 6, "base": [False] * 20, "sft": [True] * 15 + [False] * 5}
        root = finished_run({**shares, "ppo": ppo}, settings={"sft": {"steps": steps}})
        run_stage("report", {}, root)
        (root / "dvc.yaml").write_text("stages: {}\n")
        (root / "code.yaml").write_text(yaml.safe_dump({"votes": "same", "ppo-ppo": name, f"own-{name}": "x"}))
        lock = {"stages": {"prompts": {"deps": [{"path": "data.jsonl", "md5": f"hash-{name}"}], "outs": [], "cmd": ""}}}
        (root / "dvc.lock").write_text(yaml.safe_dump(lock))
        shutil.move(root, tmp_path / "runs" / name)
    return tmp_path


def invoke(*arguments: object):
    return CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)


def test_the_summary_holds_ten_figures_that_agree_with_the_report(home: Path) -> None:
    found = json.loads(Paths(home / "runs/two").summary.read_text())
    assert len(FIGURES) == 10
    assert set(found) == set(FIGURES)
    # two: ppo 20/20, sft 15/20, teacher 14/20, base 0/20; labels 6 of 8 right, 8 of 10 labelled
    assert {key: round(found[key], 6) for key in FIGURES if key not in ("flops", "reward_auc", "cut_off")} == {
        "accuracy": 1.0,
        "minus_base": 1.0,
        "minus_start": 0.25,
        "minus_teacher": 0.3,
        "items": 20,
        "labelled": 0.8,
        "labels_right": 0.75,
    }
    assert found["reward_auc"] == 0.9


def test_runs_are_listed_newest_first_with_their_figures(home: Path) -> None:
    write_record(
        home / "runs/one", Record("2026-02-01T00:00:00+00:00", None, "failed", "ada@box", "abc", problem="why")
    )
    write_record(
        home / "runs/two", Record("2026-03-01T00:00:00+00:00", "2026-03-01T00:02:00+00:00", "succeeded", "bo@box")
    )
    shown = invoke("runs").stdout.splitlines()
    assert [line.split()[0] for line in shown[1:3]] == ["two", "one"]
    found = json.loads(invoke("runs", "--json").stdout)
    assert [(one["name"], one["state"], one["seconds"], one["who"]) for one in found] == [
        *[("two", "succeeded", 120.0, "bo@box"), ("one", "failed", None, "ada@box")]
    ]
    assert found[0]["figures"]["accuracy"] == 1.0


@pytest.mark.parametrize("width", [80, 100, 250])
def test_a_list_of_runs_fits_the_terminal(home: Path, width: int) -> None:
    write_record(home / "runs/one", Record("2026-02-01T00:00:00+00:00", None, "failed", "ada@box", "abc1234-dirty"))
    shown = lines(local_runs(), width)
    assert max(map(len, shown)) <= width
    assert "100.0 %" in "\n".join(shown)


def test_damaged_figures_are_said_and_hide_no_other_run(home: Path) -> None:
    Paths(home / "runs/one").summary.write_text("[1")
    shown = invoke("runs").stdout
    assert "one: runs/one/metrics/summary.json: is not a JSON object of numbers" in shown
    assert "100.0 %" in shown


def test_a_run_is_recorded_as_it_ends_and_a_killed_one_is_lost(tmp_path: Path) -> None:
    with recorded(tmp_path) as ran:
        ran += ["a", "b"]
        assert read_record(tmp_path).state == "running"
    done = read_record(tmp_path)
    assert (done.state, done.ran, done.who) == ("succeeded", 2, who())
    with pytest.raises(ValueError, match="no room"), recorded(tmp_path):
        raise ValueError("no room\nmore")
    assert (read_record(tmp_path).state, read_record(tmp_path).problem) == ("failed", "no room")
    gone = os.fork()
    if not gone:
        os._exit(0)
    os.waitpid(gone, 0)
    write_record(tmp_path, Record(done.started, who=who(), process=gone))
    assert read_record(tmp_path).state == "lost"


def test_diff_names_what_differs_and_nothing_else(home: Path) -> None:
    found = json.loads(invoke("diff", "one", "two", "--json").stdout)
    assert found["parameters"] == {"sft.steps": [10, 20]}
    assert found["data"] == {"data.jsonl": ["hash-one", "hash-two"]}
    assert found["code"] == ["ppo-ppo"]
    assert found["tasks"] == [["own-one"], ["own-two"]]
    assert found["figures"]["accuracy"] == [0.75, 1.0]
    assert "items" not in found["figures"]


def test_diff_compares_models_on_the_same_items_with_intervals(home: Path) -> None:
    found = json.loads(invoke("diff", "one", "two", "--json").stdout)
    by_model = {one["model"]: one["comparison"] for one in found["measured"]}
    # ppo: 15/20 and 20/20, so +0.25; 5 discordant items, all won: McNemar's p = 2 x 0.5^5
    assert by_model["ppo"]["difference"] == pytest.approx(0.25)
    assert by_model["ppo"]["low"] > 0
    assert by_model["ppo"]["p_value"] == pytest.approx(2 * 0.5**5)
    assert by_model["teacher"]["difference"] == 0
    shown = invoke("diff", "one", "two").stdout
    assert "sft.steps" in shown
    assert "ppo, bench0" in shown
    assert "+25.0" in shown


def test_diff_of_a_run_with_itself_says_that_all_is_the_same(home: Path) -> None:
    shown = invoke("diff", "one", "one").stdout
    for words in ("parameters: the same", "data: the same", "code: the same", "figures: the same"):
        assert words in shown


def test_diff_says_what_it_cannot_compare(home: Path) -> None:
    Paths(home / "runs/two").results("ppo", "bench0").unlink()
    shown = invoke("diff", "one", "two").stdout
    assert "ppo-bench0.parquet: does not exist, so ppo is not compared on bench0" in shown
