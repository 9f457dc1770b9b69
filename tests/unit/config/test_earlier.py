"""Keys of earlier versions: understood where they mean one thing, else refused with the new place."""

import logging

import pytest
import yaml

from retort.config import load_config, resolved
from retort.errors import ConfigError

EARLIER = {
    "teacher": {"type": "vllm", "model": "org/big", "tensor_parallel": 2},
    "student": {"model": "org/small", "pad_token": "<pad>"},
    "prompts": {"sources": [{"path": "p.jsonl"}]},
    "reward": {"init": "teacher", "likelihood": ["teacher", "sft"]},
    "sft_equal_compute": {"enabled": False},
    "evaluate": {"models": ["teacher", "base", "sft", "ppo"]},
}
NOW = {
    "models": {
        "teacher": {
            "source": "org/big",
            "dtype": "bfloat16",
            "engine": {"type": "vllm", "tensor_parallel": 2},
        },
        "base": {"source": "org/small", "pad_token": "<pad>"},
    },
    "prompts": {"sources": [{"path": "p.jsonl"}]},
    "reward": {"trunk": "teacher", "likelihood": ["teacher", "sft"]},
    "evaluate": {"models": ["teacher", "base", "sft", "ppo"]},
}


def load(folder, values, *, changes=()):
    (folder / "run.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    return load_config(folder / "run.yaml", changes=changes)


def test_an_earlier_configuration_is_the_same_run_and_says_where_its_keys_are_now(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        earlier = load(tmp_path, EARLIER)
    assert resolved(earlier) == resolved(load(tmp_path, NOW))
    said = caplog.text
    for words in ("teacher is models.teacher now", "student is models.base now", "reward.init is reward.trunk now"):
        assert words in said


def test_earlier_keys_can_be_changed_over_todays(tmp_path):
    config = load(tmp_path, NOW, changes=["teacher.model=org/other", "student.dtype=bfloat16"])
    assert config.models["teacher"].source == "org/other"
    assert config.models["teacher"].engine.tensor_parallel == 2
    assert config.models["base"].dtype == "bfloat16"


@pytest.mark.parametrize(
    ("teacher", "engine"),
    [
        (
            {"type": "openai", "base_url": "http://x/v1", "model": "m", "concurrency": 3},
            {"type": "openai", "base_url": "http://x/v1", "model": "m", "concurrency": 3},
        ),
        (
            {"type": "recorded", "path": "r.jsonl", "format": "gsm8k_solutions"},
            {"type": "recorded", "path": "r.jsonl", "format": "gsm8k_solutions"},
        ),
    ],
)
def test_teachers_without_weights_become_engines(tmp_path, teacher, engine):
    values = {**EARLIER, "teacher": teacher, "reward": {}, "evaluate": {}}
    found = load(tmp_path, values).models["teacher"]
    assert found.source is None
    assert found.engine.model_dump().items() >= engine.items()


def test_the_baseline_that_was_a_stage_is_refused_with_the_entry_that_it_is_now(tmp_path):
    values = {**EARLIER, "sft_equal_compute": {"enabled": True, "max_extra_steps": 7}}
    with pytest.raises(ConfigError, match=r"entry of students now.*compute_of: ppo, max_extra_steps: 7\}\}"):
        load(tmp_path, values)


def test_a_judge_of_earlier_versions_is_a_model_now(tmp_path):
    judge = {"model": {"type": "transformers", "model": "judges/one"}, "method": "rubric"}
    config = load(tmp_path, {**NOW, "answer": "open", "judge": judge})
    assert config.judge.model.source == "judges/one"


def test_an_unknown_type_of_teacher_is_refused_with_the_nearest(tmp_path):
    with pytest.raises(ConfigError, match="unknown engine 'opanai'; did you mean 'openai'"):
        load(tmp_path, {**EARLIER, "teacher": {"type": "opanai", "model": "m"}})
