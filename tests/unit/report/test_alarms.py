"""Alarms on samples, labels and answers, and the exit that a scheduler sees."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from retort.cli.app import app
from retort.config.data import ReportAlarmsConfig
from retort.errors import ResultError
from retort.report.alarms import alarms
from retort.report.formats import interval_words
from retort.report.labels import LabelQuality
from retort.report.scores import Paired, score
from retort.report.stage_metrics import Measured
from retort.report.terminal import result_lines
from retort.report.words import difference
from retort.run.known_stages import STAGES
from retort.run.stage import run_stage

Make = Callable[..., Path]

ANSWERS = {"prompt_tokens": 100, "response_tokens": 300, "flops": 1e9, "responses": 80, "prompts": 10}


def metrics_of(root: Path) -> dict[str, Any]:
    run_stage("report", {}, root)
    (root / "dvc.yaml").write_text("stages: {}\n")  # what tells a run's folder from another
    found: dict[str, Any] = json.loads((root / "outputs/report/metrics.json").read_text())
    return found


def labels(coverage: float = 0.9, known: int = 100, accuracy: float | None = 0.9) -> LabelQuality:
    return LabelQuality(1000, 900, 100, coverage, known, accuracy, 0.8, 0.7, [], [])


def raised(found: LabelQuality | None = None, scores: Any = None, limits: Any = None, **votes: float) -> list[str]:
    """Alarms of labels and scores, with these metrics of the stage `votes`."""
    lines: Any = SimpleNamespace(the=lambda name: f"the {name}", result="ppo")
    stages = {"votes": Measured(STAGES["votes"], {}, votes)}
    return alarms(lines, stages, found, scores or {}, limits or ReportAlarmsConfig())


def test_a_sound_run_raises_no_alarm(finished_run: Make) -> None:
    metrics = metrics_of(finished_run())
    assert (metrics["alarms"], metrics["better_than_base"], metrics["base"]) == ([], True, "base")


def test_samples_that_are_all_alike_are_said_over_all_shards(finished_run: Make) -> None:
    shards = {
        "teacher_responses-0": ANSWERS | {"identical_share": 0.9, "prompts": 30},
        "teacher_responses-1": ANSWERS | {"identical_share": 0.2, "prompts": 10},
    }
    root = finished_run(metrics=shards, settings={"teacher_responses": {"shards": [0, 1]}})
    # (0.9 x 30 + 0.2 x 10) / 40 = 0.725
    [alarm] = metrics_of(root)["alarms"]
    assert alarm.startswith("The samples of the teacher to 72.5 % of the prompts are all the same")
    assert alarm in (root / "outputs/report/model_card.md").read_text()
    assert alarm in (root / "report.html").read_text().replace("\u00a0", " ")
    assert alarm in result_lines(metrics_of(root))
    looser = {"report": {"alarms": {"identical": 0.8}}, "teacher_responses": {"shards": [0, 1]}}
    assert metrics_of(finished_run(metrics=shards, settings=looser))["alarms"] == []


def test_a_teacher_that_is_cut_off_is_said_and_a_student_is_not(finished_run: Make) -> None:
    cut_off = ANSWERS | {"cut_off_rate": 0.5}
    given = {"teacher_responses-0": cut_off, "student_responses-sft-0": cut_off}
    [alarm] = metrics_of(finished_run(metrics=given))["alarms"]
    assert alarm.startswith("50.0 % of the responses of the teacher were cut off")


@pytest.mark.parametrize(
    ("found", "votes", "words"),
    [
        (labels(accuracy=0.01), {}, "Of 100 pseudo-labels whose gold answer is known, 1.0 % are right"),
        # The upper end of 60 of 100 is 69.1 %.
        (
            labels(accuracy=0.6),
            {"sample_accuracy": 0.7},
            "labels are right in 60.0 % of 100 .* in 70.0 %: the vote makes",
        ),
        (labels(accuracy=0.6), {"sample_accuracy": 0.68}, None),
        (labels(accuracy=0.01, known=19), {}, None),
        (labels(accuracy=None, known=0), {"sample_accuracy": 0.7}, None),
        (labels(coverage=0.4), {}, "Only 40.0 % of 1,000 prompts have a pseudo-label"),
        (labels(), {"unparsed_share": 0.3}, "No answer could be read in 30.0 % of the teacher's responses"),
    ],
)
def test_labels_that_cannot_be_right_are_said(found: LabelQuality, votes: dict[str, float], words: str | None) -> None:
    said = raised(found, **votes)
    if words is None:
        assert said == []
    else:
        [alarm] = said
        assert re.search(words, alarm)


def test_answers_of_the_result_that_were_not_read_or_cut_off_are_said(item_results: Callable[..., Any]) -> None:
    rows = item_results([False] * 6 + [True] * 4, unread=3)
    for row in rows[:5]:
        row["finish_reason"] = "length"
    found = {"ppo": score(rows), "sft": score(item_results([False] * 10, unread=10))}
    first, second = raised(scores=found)
    assert first.startswith("50.0 % of the answers of the ppo were cut off")
    assert second.startswith("No answer could be read in 30.0 % of the responses of the ppo")
    assert raised(scores=found, limits=ReportAlarmsConfig(cut_off=0.5, unread=0.3)) == []


def exit_of(root: Path, *more: str) -> BaseException | None:
    return CliRunner().invoke(app, ["show", str(root), *more]).exception


def test_require_better_fails_on_a_result_no_better_than_its_base_and_on_alarms(finished_run: Make) -> None:
    worse = finished_run({name: [place < 10 for place in range(20)] for name in ("teacher", "base", "sft", "ppo")})
    assert metrics_of(worse)["better_than_base"] is False
    assert exit_of(worse) is None
    found = exit_of(worse, "--require-better")
    assert isinstance(found, ResultError)
    assert (found.exit_code, "not shown to be better than the model" in str(found)) == (70, True)
    sound = finished_run()
    metrics_of(sound)
    assert exit_of(sound, "--require-better") is None
    alike = finished_run(metrics={"teacher_responses-0": ANSWERS | {"identical_share": 1.0}})
    metrics_of(alike)
    assert "all the same" in str(exit_of(alike, "--require-better"))
    unknown = finished_run({name: [True] * 20 for name in ("sft", "ppo")})
    assert metrics_of(unknown)["better_than_base"] is None
    assert "is not known: evaluate both" in str(exit_of(unknown, "--require-better"))


def pair(low: float, high: float, p_value: float, value: float = 0.0) -> Paired:
    return Paired(value, low, high, 20, 20, p_value, "mcnemar", 0.3)


def test_an_interval_of_no_width_is_none(finished_run: Make) -> None:
    assert difference(pair(0.0, 0.0, 1.0)) == "+0.0 [no interval: every item came out alike]"
    assert interval_words(-0.01, 0.02) == "−1.0 to +2.0"
    # Three items of three: the bootstrap knows one answer, the test that it may be chance.
    assert [pair(1.0, 1.0, p, 1.0).verdict for p in (0.25, 0.01)] == ["open", "above"]
    assert pair(0.01, 0.2, 0.2, 0.1).verdict == "above"
    alike = finished_run({name: [place < 10 for place in range(20)] for name in ("teacher", "base", "sft", "ppo")})
    metrics = metrics_of(alike)
    text = (alike / "outputs/report/report.md").read_text() + (alike / "report.html").read_text()
    assert "none: all items alike" in text
    assert "+0.0 to +0.0" not in text + "\n".join(result_lines(metrics))
    assert "[+0.0, +0.0]" not in text
