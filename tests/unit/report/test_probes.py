"""What the probe of an endpoint found is in the report, of all shards put together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from retort.report.probes import sentences
from retort.report.stage_metrics import add_up
from retort.run.stage import run_stage

HONEST = {
    "temperature_honoured": True, "seed_honoured": True, "logprobs_given": None, "turn_ended": True,
    "tokens_counted": True, "reasoning_given": False, "fields_left_out": [], "prompt_tokens": 40, "response_tokens": 90,
}  # fmt: skip


@pytest.mark.parametrize(
    ("probe", "words"),
    [
        (
            HONEST,
            "A probe tried the endpoint of the teacher before the first batch: it follows the temperature, repeats a "
            "sample by its seed, ends its turn and counts tokens.",
        ),
        (
            HONEST | {"temperature_honoured": False, "seed_honoured": None, "fields_left_out": ["seed", "top_p"]},
            "A probe tried the endpoint of the teacher before the first batch: it ends its turn and counts tokens, but "
            "it gives the same response twice at temperature 1. It refused seed and top_p, and was asked without. It "
            "seems to ignore the temperature: a vote over equal samples is no vote, and a label is worth no more than "
            "one greedy answer.",
        ),
        (
            dict.fromkeys(HONEST),
            "A probe tried the endpoint of the teacher before the first batch: nothing could be told of it.",
        ),
    ],
    ids=["honest", "greedy", "silent"],
)
def test_what_was_found_is_said_in_words(probe: dict[str, Any], words: str) -> None:
    assert sentences("the teacher", probe) == words


def test_what_one_shard_finds_wanting_is_wanting_and_what_one_leaves_out_is_left_out() -> None:
    other = HONEST | {"temperature_honoured": False, "turn_ended": None, "fields_left_out": ["seed"]}
    both = add_up([{"probe": HONEST}, {"probe": None}, {"probe": other}])["probe"]
    assert (both["temperature_honoured"], both["seed_honoured"], both["turn_ended"]) == (False, True, True)
    assert both["fields_left_out"] == ["seed"]
    assert both["prompt_tokens"] == 80


def test_the_report_says_it_on_page_and_in_markdown_and_nothing_without_a_probe(
    finished_run: Callable[..., Path],
) -> None:
    shards = {"teacher_responses": {"shards": [0, 1]}}
    told = {f"teacher_responses-{n}": {"responses": 40, "probe": HONEST} for n in (0, 1)}
    root = finished_run(settings=shards, metrics=told)
    run_stage("report", {}, root)
    for file in (root / "outputs/report/report.md", root / "report.html"):
        text = file.read_text()
        assert "before the first batch: it follows the temperature" in text
        assert "The teacher wrote 80 responses." in text
    told = {f"teacher_responses-{n}": {"responses": 40, "probe": None} for n in (0, 1)}
    run_stage("report", {}, finished_run(settings=shards, metrics=told))
    assert "A probe tried" not in (root / "outputs/report/report.md").read_text()
