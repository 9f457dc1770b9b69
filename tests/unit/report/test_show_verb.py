"""`retort show`: what it prints, and that it draws the page again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from retort.cli.app import app
from retort.errors import ConfigError, InputError
from retort.run.record import Record, write_record
from retort.run.stage import run_stage

Make = Callable[..., Path]


def reported(make: Make, **options: object) -> Path:
    root = make(**options)
    run_stage("report", {}, root)
    (root / "dvc.yaml").write_text("stages: {}\n")
    return root


def invoke(*arguments: object):
    return CliRunner().invoke(app, ["show", *map(str, arguments)])


def test_json_is_the_run_metrics(finished_run: Make) -> None:
    root = reported(finished_run)
    printed = json.loads(invoke(root, "--json").stdout)
    assert printed == json.loads((root / "outputs/report/metrics.json").read_text())
    assert {"difference", "low", "high", "n", "p_value"} <= set(printed["paired"]["ppo_minus_teacher"])


def test_table_and_path_are_printed_and_the_page_is_drawn_again(finished_run: Make) -> None:
    root = reported(finished_run)
    (root / "report.html").unlink()
    lines = invoke(root).stdout.splitlines()
    assert any(line.split()[:4] == ["PPO", "student", "90.0", "%"] for line in lines)
    assert any(line.startswith("PPO student − SFT student") and "+15.0" in line for line in lines)
    assert lines[-1] == f"Report: {root / 'report.html'}"
    assert (root / "report.html").exists()


def test_how_it_was_made_is_printed_and_stands_in_the_page(finished_run: Make) -> None:
    root = reported(finished_run, settings={"seed": 7, "sft": {"steps": 33}})
    write_record(
        root, Record("2026-01-02T03:04:05+00:00", "2026-01-02T03:06:05+00:00", "succeeded", "ada@box", "abc12")
    )
    shown, page = invoke(root).stdout, (root / "report.html").read_text()
    for text in (shown, page):
        assert "2026-01-02 03:04 UTC by ada@box, took 2 min 00 s: succeeded" in text
        assert "abc12" in text
    assert "seed:       7" in shown
    assert '<td class="left">sft.steps</td><td>33</td>' in page
    assert "sft.batch_size" not in page  # it has its default


def test_what_to_do_next_is_printed_and_stands_in_the_page(finished_run: Make) -> None:
    root = reported(finished_run, shut=["learned"])
    shown, page = invoke(root).stdout, (root / "report.html").read_text()
    assert "The reward model did not pass its gate: give it more labelled responses" in shown
    assert "It learned from 100 labelled responses." in page


def test_run_that_has_no_report_yet_says_what_to_do(finished_run: Make) -> None:
    root = finished_run()
    (root / "dvc.yaml").write_text("stages: {}\n")
    result = invoke(root)
    assert isinstance(result.exception, InputError)
    assert "Run `retort run` first" in str(result.exception)


def test_a_run_that_there_is_not_is_named_with_the_nearest(finished_run: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    root = reported(finished_run)
    monkeypatch.chdir(root.parent)
    (root.parent / "runs").mkdir()
    root.rename(root.parent / "runs/first")
    result = invoke("frist")
    assert isinstance(result.exception, ConfigError)
    assert "unknown run 'frist'; did you mean 'first'?" in str(result.exception)
    assert invoke("first").exit_code == 0
