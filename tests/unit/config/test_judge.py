"""The judge's settings, and that a run has one exactly where it needs one."""

import pytest
import yaml

from retort.config import load_config
from retort.config.judge import JudgeConfig
from retort.errors import ConfigError

BASE = {
    "models": {"teacher": {"source": "t"}, "base": {"source": "s"}},
    "prompts": {"sources": [{"path": "p.jsonl"}]},
}
JUDGE = {"model": {"engine": {"type": "recorded", "path": "judgements.jsonl"}}}


def load(folder, **more):
    (folder / "run.yaml").write_text(yaml.safe_dump(BASE | more, sort_keys=False))
    return load_config(folder / "run.yaml")


def test_open_answers_and_a_judge_come_together(tmp_path):
    assert load(tmp_path, answer="open", judge=JUDGE).judge.method == "pairwise"
    assert load(tmp_path).judge is None
    with pytest.raises(ConfigError, match="answer: open needs a judge"):
        load(tmp_path, answer="open")
    with pytest.raises(ConfigError, match="answers of kind number are voted on; leave it out, or set answer: open"):
        load(tmp_path, judge=JUDGE)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"threshold": 11}, "threshold 11 is above the best grade, 10"),
        ({"samples": 2}, "samples above 1 need a temperature above 0"),
        ({"method": "vibes"}, "pairwise"),
        ({"oponents": 2}, "did you mean 'opponents'"),
    ],
)
def test_settings_that_mean_nothing_are_refused(tmp_path, setting, words):
    with pytest.raises(ConfigError, match=words):
        load(tmp_path, answer="open", judge=JUDGE | setting)


def test_the_default_criteria_are_those_of_the_prompts():
    from retort.judge.prompts import CRITERIA

    assert JudgeConfig.model_validate(JUDGE).criteria == CRITERIA


def test_negative_weights_of_sources_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="the weight of m must be 0 or more"):
        load(tmp_path, votes={"weights": "source", "source_weights": {"m": -1}})
