"""Responses of a teacher behind an endpoint, as the stage writes them."""

from __future__ import annotations

import json

import pytest
import yaml

from retort.errors import BudgetError
from retort.io import tables
from retort.run import dvc_adapter
from retort.run.stage import run_stage
from tests.endpoint_stand_in import draws, message, serving, text_of


@pytest.fixture
def stage(tmp_path, monkeypatch):
    """Runs `teacher_responses` for six prompts in a workspace with an object store; gives metrics and rows."""
    monkeypatch.setenv("RETORT_TEST_KEY", "any")
    dvc_adapter.init(tmp_path, remote=str(tmp_path / "store"))
    rows = [
        {"prompt_id": f"p{index}", "prompt": f"what is {index} ?", "answer": None, "source": "x", "row": index + 1}
        for index in range(6)
    ]
    tables.write_table(tmp_path / "outputs/prompts/train.parquet", rows[:4], tables.PROMPTS)
    tables.write_table(tmp_path / "outputs/prompts/validation.parquet", rows[4:], tables.PROMPTS)
    (tmp_path / "outputs/models/teacher").mkdir(parents=True)

    def run(server, *, responses=None, **engine):
        teacher = {
            "type": "openai",
            "base_url": server.url,
            "model": "a/b c",
            "api_key_env": "RETORT_TEST_KEY",
        } | engine
        sampling = {"temperatures": [1.0], "samples": 2, "max_new_tokens": 60} | (responses or {})
        params = {
            "seed": 0,
            "models": {"teacher": {"engine": teacher}, "base": {"source": "base"}},
            "prompts": {"sources": [{"path": "p.jsonl"}]},
            "teacher_responses": sampling,
        }
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
        metrics = run_stage("teacher_responses", {"shard": "0"}, tmp_path)
        return metrics, tables.read_table(tmp_path / "outputs/teacher_responses/shard-0.parquet", tables.RESPONSES)

    run.root = tmp_path
    return run


def test_a_second_run_with_another_address_asks_nothing_and_writes_the_same_bytes(stage):
    with serving(say=draws) as server:
        metrics, rows = stage(server, prompt_cost=1.0)
        assert len(server.asked) == 4 + 12  # the probe, then two samples of six prompts
    table = stage.root / "outputs/teacher_responses/shard-0.parquet"
    first = table.read_bytes(), (stage.root / "metrics/teacher_responses-0.json").read_bytes()
    table.unlink()
    with serving(say=draws) as other:
        again, _ = stage(other, concurrency=1, prompt_cost=1.0)
        assert other.asked == []
        assert (table.read_bytes(), (stage.root / "metrics/teacher_responses-0.json").read_bytes()) == first
        stage(other, responses={"samples": 3})
        assert len(other.asked) == 4 + 6
    assert metrics == again
    assert metrics["probe"]["temperature_honoured"] is True
    assert metrics["identical_share"] == 0
    assert {row["model"] for row in rows} == {"a/b c"}


def test_prompts_that_a_policy_refuses_have_no_rows_and_are_counted(stage):
    refuse = lambda body: (400, "content_filter") if "is 3" in text_of(body) else None  # noqa: E731
    with serving(say=draws, refuse=refuse) as server:
        metrics, rows = stage(server, max_missing_share=0.2)
    assert (metrics["refused"], metrics["responses"], metrics["prompts_without_response"]) == (2, 10, 1)
    assert {row["prompt_id"] for row in rows} == {"p0", "p1", "p2", "p4", "p5"}


def test_equal_samples_above_temperature_0_raise_an_alarm(stage, caplog):
    with serving() as server:
        metrics, _ = stage(server)
    assert metrics["identical_share"] == 1
    assert "the samples to 100 % of the prompts are all the same" in caplog.text
    assert "seems to ignore the temperature" in caplog.text


def test_a_spent_budget_ends_the_stage_and_a_smaller_share_lets_it_go_on_with_what_is_there(stage):
    with serving(say=draws) as server:
        with pytest.raises(BudgetError, match=r"models\.teacher\.engine\.budget"):
            stage(server, budget={"requests": 10}, concurrency=1)
        metrics, rows = stage(server, budget={"requests": 10}, concurrency=1, responses={"min_share": 0.1})
        # The share is a new setting, so a new budget: the six that were paid for come from the store.
        assert (metrics["responses"], metrics["unanswered"]) == (12, 0)
        assert len(server.asked) == 10 + 4 + 6
    assert len(rows) == 12


def test_what_is_there_is_enough_where_the_configuration_says_so(stage):
    with serving(say=draws) as server:
        metrics, rows = stage(server, budget={"requests": 10}, concurrency=1, responses={"min_share": 0.5})
    assert (metrics["responses"], metrics["unanswered"], len(rows)) == (6, 6, 6)


def test_reasoning_is_in_a_column_of_its_own(stage):
    numbers = iter(range(99))
    say = lambda _: message("18", reasoning_content=f"thought {next(numbers)}")  # noqa: E731
    with serving(say=say) as server:
        metrics, rows = stage(server)
    assert (metrics["with_reasoning"], metrics["identical_share"]) == (12, 0)
    assert all(row["response"] == "18" and row["reasoning"].startswith("<think>\nthought") for row in rows)


def test_the_resume_state_of_a_poisoned_log_is_read(stage):
    """A log of responses that no table can hold, as an earlier version left it, does not fail every later attempt."""
    with serving(say=draws) as server:
        with pytest.raises(BudgetError):
            stage(server, budget={"requests": 10}, concurrency=1)
        (log,) = stage.root.glob(".retort/state/**/responses.jsonl")
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        log.write_text("".join(json.dumps(line | {"response_tokens": None}) + "\n" for line in lines))
        metrics, _ = stage(server)
    assert metrics["responses"] == 12
