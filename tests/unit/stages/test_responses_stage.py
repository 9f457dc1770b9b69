"""The response stages: shards, resuming, and responses that cannot be used."""

from __future__ import annotations

import json

import pytest

import retort.engines.log
from retort.errors import EngineError, InputError
from retort.io import tables
from retort.io.files import content_hash
from retort.run.stage import run_stage
from tests.conftest import write_params

SAMPLING = {"temperatures": [0.7, 1.0], "samples": 2, "max_new_tokens": 60, "batch_size": 8, "shards": [0, 1]}


def prompts(root, count=9):
    rows = [
        {"prompt_id": f"p{index}", "prompt": f"{index} cards ?", "answer": None, "source": "x", "row": index + 1}
        for index in range(count)
    ]
    tables.write_table(root / "outputs/prompts/train.parquet", rows[:-2], tables.PROMPTS)
    tables.write_table(root / "outputs/prompts/validation.parquet", rows[-2:], tables.PROMPTS)
    held_out = [row | {"prompt_id": "secret"} for row in rows[:1]]
    tables.write_table(root / "outputs/prompts/test.parquet", held_out, tables.PROMPTS)


@pytest.fixture
def workspace(tmp_path, tiny_model_folder):
    """A workspace with prompts, a local teacher and an SFT student; returns how to write its parameters."""
    tiny_model_folder(name="models/teacher")
    tiny_model_folder(seed=1, name="outputs/models/sft")
    prompts(tmp_path)

    def write(teacher=None, **more):
        models = {"teacher": teacher or {"source": "models/teacher"}, "base": {"source": "models/teacher"}}
        sampling = SAMPLING | more
        write_params(tmp_path, seed=5, models=models, teacher_responses=sampling, student_responses=sampling)
        run_stage("models", {}, tmp_path)
        return tmp_path

    return write


def read(root, stage, shard):
    return tables.read_table(root / f"outputs/{stage}/shard-{shard}.parquet", tables.RESPONSES)


def test_shards_divide_train_and_validation_prompts_and_leave_the_test_split_alone(workspace):
    root = workspace()
    metrics = [run_stage("teacher_responses", {"shard": str(shard)}, root) for shard in (0, 1)]
    rows = [row for shard in (0, 1) for row in read(root, "teacher_responses", shard)]
    assert {row["prompt_id"] for row in rows} == {f"p{index}" for index in range(9)}
    assert [one["responses"] for one in metrics] == [20, 16]
    assert {(row["source"], row["model"]) for row in rows} == {("teacher", "models/teacher")}
    assert [row["sample"] for row in rows[:4]] == [0, 1, 2, 3]
    # Parameters: embeddings 320 x 16, two layers of 16 x (16 + 8 + 8 + 16) + 3 x 16 x 32 + 2 x 16, last norm 16 = 9808.
    assert metrics[0]["flops"] == 2 * 9808 * (metrics[0]["prompt_tokens"] + metrics[0]["response_tokens"])
    assert json.loads((root / "metrics/teacher_responses-0.json").read_text()) == metrics[0]


def test_sharding_does_not_change_a_response(workspace):
    root = workspace()
    run_stage("teacher_responses", {"shard": "1"}, root)
    sharded = {(row["prompt_id"], row["sample"]): row["response"] for row in read(root, "teacher_responses", 1)}
    workspace(shards=[0])
    run_stage("teacher_responses", {"shard": "0"}, root)
    whole = {(row["prompt_id"], row["sample"]): row["response"] for row in read(root, "teacher_responses", 0)}
    assert {key: whole[key] for key in sharded} == sharded


def test_the_student_answers_with_its_own_model_and_seeds(workspace):
    root = workspace()
    run_stage("student_responses", {"student": "sft", "shard": "0"}, root)
    rows = read(root, "student_responses/sft", 0)
    assert {(row["source"], row["model"]) for row in rows} == {("sft", "sft")}


def test_two_runs_write_the_same_bytes(workspace):
    root = workspace()
    hashes = []
    for _ in range(2):
        run_stage("teacher_responses", {"shard": "0"}, root)
        hashes.append([content_hash(root / f"{name}") for name in ("outputs/teacher_responses", "metrics")])
    assert hashes[0] == hashes[1]


def test_a_killed_stage_resumes_and_writes_the_bytes_of_an_uninterrupted_one(workspace, monkeypatch):
    root = workspace()
    run_stage("teacher_responses", {"shard": "0"}, root)
    out = root / "outputs/teacher_responses/shard-0.parquet"
    expected = out.read_bytes()
    out.unlink()

    class Killed(retort.engines.log.Progress):
        def update(self, count=1, **figures):
            super().update(count, **figures)
            raise EngineError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(retort.engines.log, "Progress", Killed)
        with pytest.raises(EngineError, match="killed"):
            run_stage("teacher_responses", {"shard": "0"}, root)
    log = root / ".retort/state/teacher_responses-0/responses.jsonl"
    assert len(log.read_text().splitlines()) == 10  # all of one temperature
    assert not out.exists()

    asked = []
    generate = retort.engines.local.LocalEngine._answer
    monkeypatch.setattr(
        retort.engines.local.LocalEngine, "_answer", lambda *args: asked.append(args[1]) or generate(*args)
    )
    run_stage("teacher_responses", {"shard": "0"}, root)
    assert out.read_bytes() == expected
    assert sum(len(batch) for batch in asked) == 10
    assert not log.exists()


def recorded(root, rows):
    (root / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"engine": {"type": "recorded", "path": "answers.jsonl"}}


def test_recorded_responses_are_all_used_and_missing_prompts_counted(workspace, tmp_path):
    rows = [{"prompt": f" {index}  cards ?", "response": f"#### {n}"} for index in range(5) for n in range(3)]
    root = workspace(recorded(tmp_path, rows), shards=[0])
    metrics = run_stage("teacher_responses", {"shard": "0"}, root)
    assert (metrics["responses"], metrics["prompts"], metrics["prompts_without_response"]) == (15, 9, 4)
    assert [row["sample"] for row in read(root, "teacher_responses", 0)[:3]] == [0, 1, 2]


def test_a_teacher_that_answers_mostly_nothing_is_refused(workspace, tmp_path):
    rows = [{"prompt_id": f"p{index}", "response": "" if index < 5 else "4"} for index in range(9)]
    root = workspace(recorded(tmp_path, rows), shards=[0])
    with pytest.raises(InputError, match=r"shard-0.parquet, field 'response': 5 of 9 responses are empty"):
        run_stage("teacher_responses", {"shard": "0"}, root)
    assert not (root / "outputs/teacher_responses").exists()


def test_half_empty_responses_are_kept_and_counted(workspace, tmp_path):
    rows = [{"prompt_id": f"p{index}", "response": " " if index < 4 else "4"} for index in range(9)]
    root = workspace(recorded(tmp_path, rows), shards=[0])
    assert run_stage("teacher_responses", {"shard": "0"}, root)["empty"] == 4
    assert len(read(root, "teacher_responses", 0)) == 9


def test_an_endless_teacher_is_refused_and_an_endless_student_is_not(workspace):
    root = workspace(max_new_tokens=1)
    with pytest.raises(
        InputError, match=r"all 20 responses were cut off at 1 tokens \(endless text\).*Raise max_new_tok"
    ):
        run_stage("teacher_responses", {"shard": "0"}, root)
    assert run_stage("student_responses", {"student": "sft", "shard": "0"}, root)["cut_off_rate"] == 1.0


def test_a_shard_without_prompts_is_refused(workspace):
    root = workspace(shards=list(range(12)))
    with pytest.raises(InputError, match=r"9 prompts for 12 shards leave shard 11 without any"):
        run_stage("teacher_responses", {"shard": "11"}, root)
