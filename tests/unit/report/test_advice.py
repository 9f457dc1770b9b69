"""What to do next: each rule speaks where its figure calls for it, and only there."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from retort.io.tables import RESULTS, read_table, write_table
from retort.report.advice import FALLING, _fall
from retort.report.charts import Interval, interval_chart
from retort.run.paths import Paths
from retort.run.stage import run_stage

Make = Callable[..., Path]


def advice(root: Path) -> list[str]:
    run_stage("report", {}, root)
    found: list[str] = json.loads((root / "outputs/report/metrics.json").read_text())["advice"]
    return found


VOTES = {"sample_accuracy": 0.5, "unparsed_share": 0.0}


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        ({"ppo-ppo": {"best_iteration": 2, "iterations": 2}}, "Raise ppo.iterations"),
        ({"ppo-ppo": {"best_iteration": 0, "iterations": 2}}, "try a smaller ppo.learning_rate"),
        (
            {"sft-sft": {"steps": 2, "examples": 9, "too_long": 1}},
            "1 examples were too long for SFT: raise sft.max_length",
        ),
        ({"votes": VOTES | {"unparsed_share": 0.3}}, "No answer could be read from 30.0 % of the teacher's responses"),
        ({"votes": VOTES | {"sample_accuracy": 0.8}}, "the vote adds nothing here"),
    ],
)
def test_a_figure_that_calls_for_it_is_named_with_what_may_mend_it(
    finished_run: Make, metrics: dict, words: str
) -> None:
    calm = {"votes": VOTES, "ppo-ppo": {"best_iteration": 1, "iterations": 2}}
    assert words not in " ".join(advice(finished_run(metrics=calm)))
    assert words in " ".join(advice(finished_run(metrics=calm | metrics)))


def test_answers_that_were_cut_off_call_for_more_tokens(finished_run: Make) -> None:
    root = finished_run()
    file = Paths(root).results("ppo", "bench0")
    rows = read_table(file, RESULTS)
    write_table(
        file, [row | ({"finish_reason": "length"} if place < 2 else {}) for place, row in enumerate(rows)], RESULTS
    )
    # 2 of 20
    assert "10.0 % of the responses of the PPO student were cut off" in " ".join(advice(root))


def test_a_student_is_recommended_only_where_it_is_better_than_its_base(finished_run: Make) -> None:
    assert "hand it over" in advice(finished_run())[-1]
    shares = {"base": [True] * 12 + [False] * 8, "sft": [True] * 11 + [False] * 9, "ppo": [True] * 12 + [False] * 8}
    assert "do not use it as it is" in advice(finished_run(shares))[-1]


def test_items_that_would_decide_are_counted(finished_run: Make) -> None:
    shares = {"base": [False] * 20, "sft": [True] * 14 + [False] * 6, "ppo": [False] + [True] * 15 + [False] * 4}
    said = next(line for line in advice(finished_run(shares)) if "cannot tell from chance" in line)
    assert int(re.search(r"about ([\d,]+) could", said)[1].replace(",", "")) > 20


def test_a_loss_that_falls_is_told_from_one_that_has_levelled_off() -> None:
    falling = [(float(step), 1.0 - 0.01 * step) for step in range(64)]
    # last eighth: mean 0.405 (steps 56 to 63), the one before: 0.485; fall 0.08 / 0.485
    assert _fall(falling) == pytest.approx(0.08 / 0.485)
    level = [(float(step), 0.5) for step in range(64)]
    assert _fall(level) < FALLING
    assert _fall(falling[:8]) == 0.0  # too few to say


def test_no_line_of_a_chart_reaches_the_numbers_beside_it() -> None:
    row = Interval("PPO − teacher", -0.592, -0.683, -0.5, "−59.2 [−68.3, −50.0]")
    chart = interval_chart([row], label="x", x_format=str, zero=True)
    lines = [float(end) for end in re.findall(r'x2="([\d.]+)"', chart)]
    begins = 400 - 6.4 * len(row.words)  # the numbers end at the right edge
    assert max(lines) < begins
