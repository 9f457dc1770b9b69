"""The reward model over prompts: parts within parts, the run's own figures at the end, a figure that opens."""

from __future__ import annotations

from itertools import pairwise
from xml.etree import ElementTree

import pytest

from bench.reward_curve import draw, measure, places
from retort.io.files import content_hash
from retort.run.stage import run_stage


def test_a_part_holds_whole_prompts_and_lies_within_the_next():
    rows = [{"prompt_id": f"p{number // 3}"} for number in range(48)]
    parts = [set(places(rows, part)) for part in (8, 4, 2, 1)]
    assert [len(part) for part in parts] == [6, 12, 24, 48]
    assert all(small < large for small, large in pairwise(parts))
    assert all({place // 3 * 3 + other for other in range(3)} <= part for part in parts for place in part)


def test_the_last_point_is_the_stage_s_own_result_and_the_workspace_is_left_alone(training_root, tmp_path):
    root = training_root()
    expected = run_stage("reward", {"reward": "learned"}, root)
    before = content_hash(root)
    half, whole = measure(root, [2, 1])
    assert content_hash(root) == before
    assert (half["prompts"], whole["prompts"], whole["examples"]) == (6, 12, expected["train_examples"])
    assert whole["step"] == expected["step"]
    for source, found in whole["by_source"].items():
        assert found["brier"] == pytest.approx(expected["by_source"][source]["brier"], abs=1e-6)
    draw([half, whole], tmp_path / "curve.svg")
    drawn = ElementTree.parse(tmp_path / "curve.svg").getroot()  # noqa: S314 - our own file
    assert {"sft", "teacher"} == set(whole["by_source"])
    assert drawn.tag == "{http://www.w3.org/2000/svg}svg"
    assert len(drawn.findall(".//{*}circle")) == 4  # two sources at two sizes
