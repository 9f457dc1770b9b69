"""The `evaluate` stage: tables and metrics of one model on one benchmark."""

from __future__ import annotations

import json

import pytest
import yaml

from retort import tables
from retort.errors import ConfigError, InputError
from retort.files import content_hash
from retort.models import Reference, write_reference
from retort.stages.context import run_stage

HELDOUT = {"name": "heldout"}
GSM8K = {"name": "gsm8k", "task": "gsm8k", "path": "gsm8k.jsonl", "limit": 3}


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
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"answer": "number", "evaluate": evaluate}))
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
    from retort.engines import local

    monkeypatch.setattr(local.LocalEngine, "_text", lambda *_: "so #### 7")
    metrics = evaluate(root)
    # Only the prompt whose answer is 7 of twelve; Wilson's interval of 1 in 12 by its formula: 0.0149 to 0.3539.
    assert metrics["correct"] == 1
    assert (metrics["low"], metrics["high"]) == pytest.approx((0.0149, 0.3539), abs=1e-4)
    assert metrics["unparsed_rate"] == 0


def test_a_benchmark_file_is_limited_and_found_in_the_workspace(root):
    assert evaluate(root, benchmark="gsm8k")["items"] == 3
    assert (root / "outputs/evaluate/sft-gsm8k.parquet").exists()


def test_two_runs_write_the_same_bytes(root):
    hashes = []
    for _ in range(2):
        evaluate(root)
        hashes.append([content_hash(root / name) for name in ("outputs/evaluate", "metrics")])
    assert hashes[0] == hashes[1]


def test_a_recorded_teacher_cannot_be_evaluated(root):
    reference = Reference("recorded:x", engine={"type": "recorded", "path": "x", "format": "responses"})
    write_reference(root / "outputs/models/teacher", reference)
    with pytest.raises(ConfigError, match=r"evaluate.models names 'teacher'.*Leave it out"):
        evaluate(root, model="teacher")


def test_a_prompt_longer_than_the_context_names_the_benchmark_s_file(root):
    (root / "gsm8k.jsonl").write_text(json.dumps({"question": "eggs " * 300, "answer": "#### 1"}) + "\n")
    with pytest.raises(InputError, match=r"gsm8k.jsonl, field 'prompt': prompt 'gsm8k-1' has"):
        evaluate(root, benchmark="gsm8k")
    assert not (root / "outputs/evaluate").exists()
