"""A judge over a stand-in engine."""

from __future__ import annotations

import pytest

from retort.config.judge import JudgeConfig
from retort.judge.ask import Judge
from tests.unit.judge.stand_ins import Scripted


@pytest.fixture
def judge(tmp_path):
    made = []

    def make(say, **settings):
        config = JudgeConfig(model={"engine": {"type": "recorded", "path": "unused"}}, **settings)
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(folder)
        return Judge(Scripted(say), config, folder, seed=0)

    return make
