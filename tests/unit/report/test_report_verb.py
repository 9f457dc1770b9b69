"""`retort report`: what it prints, draws again and hands over."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from retort.cli.app import app
from retort.errors import InputError
from retort.report.export import export_student
from retort.run.paths import Paths
from retort.run.stage import run_stage

Make = Callable[..., Path]


def reported(make: Make, **options: object) -> Path:
    root = make(**options)
    run_stage("report", {}, root)
    for name in ("sft", "ppo"):
        folder = Paths(root).model(name)
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps({"name": name}))
    return root


def invoke(*arguments: object):
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


def test_json_is_the_run_metrics(finished_run: Make) -> None:
    root = reported(finished_run)
    printed = json.loads(invoke("--workspace", root, "--json").stdout)
    assert printed == json.loads((root / "outputs/report/metrics.json").read_text())
    assert {"difference", "low", "high", "n", "p_value"} <= set(printed["paired"]["ppo_minus_teacher"])


def test_table_and_path_are_printed_and_the_page_is_drawn_again(finished_run: Make) -> None:
    root = reported(finished_run)
    (root / "report.html").unlink()
    lines = invoke("--workspace", root).stdout.splitlines()
    assert any(line.split()[:4] == ["PPO", "student", "90.0", "%"] for line in lines)
    assert any(line.startswith("PPO student − SFT student") and "+15.0" in line for line in lines)
    assert lines[-1] == f"Report: {root / 'report.html'}"
    assert (root / "report.html").exists()


def test_run_that_has_no_report_yet_says_what_to_do(tmp_path: Path) -> None:
    result = invoke("--workspace", tmp_path)
    assert isinstance(result.exception, InputError)
    assert "Run `retort run` first" in str(result.exception)


@pytest.mark.parametrize(("shut", "student"), [([], "ppo"), (["learned"], "sft")])
def test_export_is_the_final_student_with_its_card(
    finished_run: Make, tmp_path: Path, shut: list, student: str
) -> None:
    root = reported(finished_run, shut=shut)
    assert invoke("--workspace", root, "--export", tmp_path / "out").exit_code == 0
    assert json.loads((tmp_path / "out/config.json").read_text())["name"] == student
    assert (tmp_path / "out/README.md").read_text() == (root / "outputs/report/model_card.md").read_text()


def test_export_replaces_an_older_export_but_nothing_else(finished_run: Make, tmp_path: Path) -> None:
    root = reported(finished_run)
    target = tmp_path / "out"
    export_student(Paths(root), "sft", target)
    export_student(Paths(root), "ppo", target)
    assert json.loads((target / "config.json").read_text())["name"] == "ppo"
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "chapter.tex").write_text("precious")
    with pytest.raises(InputError, match="is no exported model"):
        export_student(Paths(root), "ppo", other)
    assert (other / "chapter.tex").read_text() == "precious"
