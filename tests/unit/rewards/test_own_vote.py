"""The majority of a student's own responses as a reward."""

from __future__ import annotations

import pytest

from retort.errors import ConfigError, TrainingError
from retort.plugins import RewardContext
from retort.rewards.own_vote import REWARD, OwnVoteReward


def scores(rows, *, min_share=0.0):
    prompts, responses, finished = zip(*rows, strict=True)
    return OwnVoteReward("own", "number", min_share).score(prompts, responses, finished).tolist()


def test_each_prompt_s_majority_is_its_own_whatever_the_order():
    rows = [
        ("a", "#### 7", True),
        ("b", "#### 7", True),
        ("a", "so #### 7.0", True),
        ("b", "#### 8", True),
        ("a", "#### 8", True),
        ("b", "#### 8", True),
    ]
    assert scores(rows) == [1, 0, 1, 1, 0, 1]


def test_a_response_that_was_cut_off_or_states_nothing_does_not_vote_and_gets_nothing():
    rows = [("a", "#### 7", True), ("a", "#### 8", False), ("a", "#### 8", False), ("a", "no idea", True)]
    assert scores(rows) == [1, 0, 0, 0]


def test_a_tie_pays_nobody():
    assert scores([("a", "#### 7", True), ("a", "#### 8", True)]) == [0, 0]


def test_a_majority_that_is_too_small_pays_nobody():
    rows = [("a", "#### 7", True), ("a", "#### 7", True), ("a", "#### 8", True), ("a", "#### 9", True)]
    assert scores(rows, min_share=0.5) == [1, 1, 0, 0]
    assert scores(rows, min_share=0.6) == [0, 0, 0, 0]


def test_one_response_alone_is_no_majority():
    with pytest.raises(TrainingError, match=r"rewards\.own: one response alone to the prompt 'b' .* Sample several"):
        scores([("a", "#### 7", True), ("a", "#### 7", True), ("b", "#### 7", True)])


def test_open_ended_prompts_have_nothing_to_vote_on(tmp_path):
    context = RewardContext(
        "own", REWARD.config(), "open", tmp_path, tmp_path, lambda name: tmp_path / name, {}, tmp_path
    )
    with pytest.raises(
        ConfigError, match=r"rewards\.own: open-ended prompts have no answer to vote on; use type: judge"
    ):
        REWARD.load(context)
