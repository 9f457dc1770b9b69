"""The `evaluate` stage: tables and metrics of one model on one benchmark."""

from __future__ import annotations

import json

import pytest
import yaml

from retort.errors import ConfigError, EngineError, InputError
from retort.io import tables
from retort.io.files import content_hash
from retort.modeling.chat import prompt_ids
from retort.modeling.loading import Reference, load_tokenizer, write_reference
from retort.run.stage import run_stage
from tests.conftest import write_params

pytestmark = pytest.mark.timeout(600)
"""Importing the harness takes long on a machine that is busy."""

HELDOUT = {"name": "heldout"}
GSM8K = {
    "name": "gsm8k",
    "task": "gsm8k",
    "data": {"test": "gsm8k.jsonl"},
    "prompt": "{{question}}",
    "num_fewshot": 0,
    "limit": 3,
}


@pytest.fixture
def root(tmp_path, tiny_model_folder):
    tiny_model_folder(name="outputs/models/sft")
    rows = [
        {"prompt_id": f"p{index}", "prompt": f"{index} cards ?", "answer": str(index), "source": "x", "row": index + 1}
        for index in range(12)
    ]
    tables.write_table(tmp_path / "outputs/prompts/test.parquet", rows, tables.PROMPTS)
    solved = [{"question": f"{index} eggs ?", "answer": f"#### {index}"} for index in range(5)]
    (tmp_path / "gsm8k.jsonl").write_text("".join(json.dumps(row) + "\n" for row in solved))
    evaluate = {"benchmarks": [HELDOUT, GSM8K], "max_new_tokens": 16, "batch_size": 5}
    prompts = {"decontaminate": ["gsm8k.jsonl"]}
    write_params(tmp_path, evaluate=evaluate, prompts=prompts)
    return tmp_path


def evaluate(root, model="sft", benchmark="heldout"):
    return run_stage("evaluate", {"model": model, "benchmark": benchmark}, root)


def test_metrics_are_those_of_the_table(root):
    metrics = evaluate(root)
    rows = tables.read_table(root / "outputs/evaluate/sft-heldout.parquet", tables.RESULTS)
    assert [row["item_id"] for row in rows] == [f"p{index}" for index in range(12)]
    assert metrics["items"] == 12
    assert metrics["accuracy"] == sum(row["correct"] for row in rows) / 12
    assert metrics["low"] <= metrics["accuracy"] <= metrics["high"]
    assert metrics["unparsed_rate"] == sum(row["read"] is None for row in rows) / 12
    assert metrics["cut_off_rate"] == sum(row["finish_reason"] == "length" for row in rows) / 12
    assert metrics["response_tokens"] == sum(row["response_tokens"] for row in rows)
    assert metrics["flops"] == 2 * 9808 * (metrics["prompt_tokens"] + metrics["response_tokens"])


def test_a_right_answer_counts(root, monkeypatch):
    from retort.engines import written

    monkeypatch.setattr(written, "response_text", lambda *_: "so #### 7")
    metrics = evaluate(root)
    # Only the prompt whose answer is 7 of twelve; Wilson's interval of 1 in 12 by its formula: 0.0149 to 0.3539.
    assert metrics["correct"] == 1
    assert (metrics["low"], metrics["high"]) == pytest.approx((0.0149, 0.3539), abs=1e-4)
    assert metrics["unparsed_rate"] == 0


def test_a_task_of_the_harness_is_asked_in_the_stage_s_own_way(root, monkeypatch):
    from retort.engines import written

    monkeypatch.setattr(written, "response_text", lambda *_: "so #### 2 Question: and 3 ?")
    metrics = evaluate(root, benchmark="gsm8k")
    rows = tables.read_table(root / "outputs/evaluate/sft-gsm8k.parquet", tables.RESULTS)
    # Cut at the task's stop text; the third of three questions is about two eggs.
    assert [row["response"] for row in rows] == ["so #### 2 "] * 3
    assert [row["question"] for row in rows] == ["0 eggs ?", "1 eggs ?", "2 eggs ?"]
    assert [row["correct"] for row in rows] == [False, False, True]
    assert metrics["accuracy"] == metrics["harness"]["strict-match/exact_match"] == pytest.approx(1 / 3)
    assert metrics["flops"] == 2 * 9808 * (metrics["prompt_tokens"] + metrics["response_tokens"])
    bare = prompt_ids(load_tokenizer(root / "outputs/models/sft"), "0 eggs ?")
    assert rows[0]["prompt_tokens"] == len(bare)  # as in training


def test_a_chat_template_of_the_configuration_holds(root):
    template = "{% for message in messages %}[{{ message['content'] }}]{% endfor %}"
    write_reference(root / "outputs/models/base", Reference("outputs/models/sft", chat_template=template))
    evaluate(root, model="base", benchmark="gsm8k")
    rows = tables.read_table(root / "outputs/evaluate/base-gsm8k.parquet", tables.RESULTS)
    tokenizer = load_tokenizer(root / "outputs/models/sft")
    # The template does not open the assistant's turn when asked to: what it writes before one is added.
    assert rows[0]["prompt_tokens"] == len(tokenizer("[0 eggs ?][").input_ids)


def test_a_killed_benchmark_goes_on_with_what_is_missing(root, monkeypatch):
    from retort.engines import log

    whole = evaluate(root, benchmark="gsm8k")
    table = content_hash(root / "outputs/evaluate/sft-gsm8k.parquet")
    answered = log.answer

    def dies(*args, **more):
        answered(*args, **more)
        raise EngineError("killed")

    monkeypatch.setattr("retort.evaluation.lm.answer", dies)
    with pytest.raises(EngineError):
        evaluate(root, benchmark="gsm8k")
    monkeypatch.setattr("retort.evaluation.lm.answer", answered)
    monkeypatch.setattr("retort.engines.local.LocalEngine._answer", lambda *_: pytest.fail("asked again"))
    assert evaluate(root, benchmark="gsm8k") == whole
    assert content_hash(root / "outputs/evaluate/sft-gsm8k.parquet") == table


def test_two_runs_write_the_same_bytes(root):
    hashes = []
    for _ in range(2):
        evaluate(root)
        hashes.append([content_hash(root / name) for name in ("outputs/evaluate", "metrics")])
    assert hashes[0] == hashes[1]


def test_a_recorded_teacher_cannot_be_evaluated(root):
    file = root / "params.yaml"
    values = yaml.safe_load(file.read_text())
    values["models"]["teacher"] = {"engine": {"type": "recorded", "path": "x"}}
    file.write_text(yaml.safe_dump(values))
    with pytest.raises(ConfigError, match=r"stage evaluate has no task teacher-heldout; it has base-heldout, .*sft-"):
        evaluate(root, model="teacher")
    values["evaluate"]["models"] = ["teacher", "sft"]
    file.write_text(yaml.safe_dump(values))
    with pytest.raises(ConfigError, match=r"evaluate\.models: 'teacher' is a file of recorded responses.*leave it out"):
        evaluate(root)


def test_a_prompt_longer_than_the_context_names_the_benchmark_s_file(root):
    (root / "gsm8k.jsonl").write_text(json.dumps({"question": "eggs " * 300, "answer": "#### 1"}) + "\n")
    with pytest.raises(InputError, match=r"gsm8k.jsonl, field 'prompt': prompt 'gsm8k-0-0' has"):
        evaluate(root, benchmark="gsm8k")
    assert not (root / "outputs/evaluate").exists()
