"""The recorded engine: three formats, matching, and malformed files."""

from __future__ import annotations

import gzip
import json

import pytest

from retort.config.data import SamplingConfig
from retort.engines.base import plan_requests
from retort.engines.recorded import RecordedEngine
from retort.errors import InputError
from retort.io import tables

SAMPLING = SamplingConfig(temperatures=[1.0], samples=1)
PROMPTS = [{"prompt_id": "a", "prompt": "How  many\ncards ?"}, {"prompt_id": "b", "prompt": "How many eggs ?"}]
REQUESTS = plan_requests(PROMPTS, SAMPLING, seed=0, stage="teacher_responses")


def write(tmp_path, rows):
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def answers(path, form, done=()):
    engine = RecordedEngine(path, form)
    return [response for batch in engine.generate(REQUESTS, SAMPLING, done) for response in batch]


def test_rows_match_by_id_or_by_text_however_it_is_spaced(tmp_path):
    path = write(tmp_path, [{"prompt_id": "b", "response": "2"}, {"prompt": "How many cards ?", "response": "1"}])
    assert [(one.prompt_id, one.response) for one in answers(path, "responses")] == [("a", "1"), ("b", "2")]


def test_a_row_with_a_foreign_id_still_matches_by_its_text(tmp_path):
    path = write(tmp_path, [{"prompt_id": "theirs", "prompt": "How many eggs ?", "response": "2"}])
    assert [one.prompt_id for one in answers(path, "responses")] == ["b"]


def test_all_responses_to_a_prompt_are_numbered_in_the_order_of_the_file(tmp_path):
    path = write(tmp_path, [{"prompt_id": "a", "response": str(number)} for number in range(12)])
    found = answers(path, "responses")
    assert [(one.sample, one.response) for one in found] == [(number, str(number)) for number in range(12)]
    assert RecordedEngine(path, "responses").count(REQUESTS) == 12


def test_what_the_file_knows_is_kept_and_what_it_does_not_is_marked(tmp_path):
    known = {"model": "m", "temperature": 0.5, "seed": 3, "finish_reason": "length", "response_tokens": 9}
    path = write(tmp_path, [{"prompt_id": "a", "response": "1"} | known, {"prompt_id": "b", "response": "2"}])
    first, second = answers(path, "responses")
    assert (first.model, first.temperature, first.seed, first.finish_reason) == ("m", 0.5, 3, "length")
    assert (first.prompt_tokens, first.response_tokens) == (0, 9)
    assert (second.model, second.temperature, second.seed, second.finish_reason) == ("recorded", -1, -1, "unknown")


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([{}, {}], ["not_recorded", "not_recorded"]),  # nothing is known of any: as whole as the file's owner says
        ([{"finish_reason": "stop"}, {}], ["stop", "unknown"]),
        ([{"finish_reason": None}, {"finish_reason": "MAX_TOKENS"}], ["unknown", "length"]),
        ([{"finish_reason": "SAFETY"}, {"finish_reason": "end_turn"}], ["safety", "stop"]),
    ],
)
def test_reasons_are_named_alike_and_missing_ones_only_count_as_whole_where_all_are_missing(tmp_path, rows, expected):
    named = [{"prompt_id": name, "response": "1"} | row for name, row in zip("ab", rows, strict=True)]
    assert [one.finish_reason for one in answers(write(tmp_path, named), "responses")] == expected


def test_a_table_that_a_response_stage_wrote_can_be_read_back(tmp_path):
    row = {"prompt_id": "a", "sample": 0, "source": "teacher", "model": "m", "temperature": 0.7, "seed": 5}
    row |= {"response": "1", "finish_reason": "stop", "prompt_tokens": 4, "response_tokens": 2, "mean_logprob": -0.5}
    tables.write_table(tmp_path / "t.parquet", [row], tables.RESPONSES)
    (one,) = answers(tmp_path / "t.parquet", "responses")
    assert (one.response, one.seed, one.finish_reason) == ("1", 5, "stop")
    assert (one.temperature, one.mean_logprob) == (pytest.approx(0.7), -0.5)


def test_example_solutions_are_one_sample_a_model(tmp_path):
    row = {
        "question": "How many cards ?",
        "ground_truth": "A: 1",
        "6b_finetuning": {"is_correct": False, "solution": "A: 2"},
        "175b_verification": {"is_correct": True, "solution": "A: 1"},
    }
    path = tmp_path / "solutions.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(row).encode()))
    found = answers(path, "gsm8k_solutions")
    assert [(one.sample, one.model, one.response) for one in found] == [
        (0, "6b_finetuning", "A: 2"),
        (1, "175b_verification", "A: 1"),
    ]


def batch_row(custom_id, content="1", status=200, **more):
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}
    body = {"model": "big", "choices": [choice], "usage": {"prompt_tokens": 5, "completion_tokens": 7}}
    return {"custom_id": custom_id, "response": {"status_code": status, "body": body}, "error": None} | more


def test_a_batch_file_gives_samples_by_custom_id_and_leaves_failures_out(tmp_path):
    rows = [batch_row("a#0", "1"), batch_row("a#1", "2"), batch_row("a#2", status=500)]
    rows += [batch_row("b", error={"code": "expired"}, response=None)]
    found = answers(write(tmp_path, rows), "openai_batch")
    assert [(one.prompt_id, one.sample, one.response) for one in found] == [("a", 0, "1"), ("a", 1, "2")]
    assert (found[0].model, found[0].finish_reason, found[0].prompt_tokens, found[0].response_tokens) == (
        "big",
        "stop",
        5,
        7,
    )


def test_ids_of_a_batch_may_hold_any_character_and_its_output_any_order(tmp_path):
    prompts = [{"prompt_id": name, "prompt": name} for name in ("q#7", "é/#", "x", "y#1#2")]
    requests = plan_requests(prompts, SAMPLING, seed=0, stage="teacher_responses")
    rows = [batch_row("é/##1", "b"), batch_row("é/##0", "a"), batch_row("q#7", "c"), batch_row("x#10", "e")]
    rows += [batch_row("x#9", "d"), batch_row("y#1#2", "f")]
    engine = RecordedEngine(write(tmp_path, rows), "openai_batch")
    found = [
        (one.prompt_id, one.sample, one.response) for batch in engine.generate(requests, SAMPLING) for one in batch
    ]
    assert found == [
        ("q#7", 0, "c"), ("é/#", 0, "a"), ("é/#", 1, "b"), ("x", 0, "d"), ("x", 1, "e"), ("y#1#2", 0, "f"),
    ]  # fmt: skip


def test_a_batch_of_the_responses_interface_and_of_plain_completions_is_read(tmp_path):
    output = [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "1 + 0"}]},
        {"type": "message", "content": [{"type": "output_text", "text": "is 1"}]},
    ]
    body = {"object": "response", "status": "completed", "model": "big", "output": output}
    body["usage"] = {"input_tokens": 5, "output_tokens": 7}
    first = {"custom_id": "a", "response": {"status_code": 200, "body": body}, "error": None}
    plain = {"choices": [{"text": "2", "finish_reason": "length"}], "usage": {"prompt_tokens": 1}}
    second = {"custom_id": "b", "response": {"status_code": 200, "body": plain}, "error": None}
    one, other = answers(write(tmp_path, [first, second]), "openai_batch")
    assert (one.response, one.reasoning, one.model) == ("is 1", "<think>\n1 + 0\n</think>\n\n", "big")
    assert (one.finish_reason, one.prompt_tokens, one.response_tokens) == ("stop", 5, 7)
    assert (other.response, other.finish_reason, other.response_tokens) == ("2", "length", 0)


def test_requests_of_a_batch_that_failed_are_counted_by_reason(tmp_path, caplog):
    rows = [batch_row("a"), batch_row("b", status=500), batch_row("b", error={"code": "expired"}, response=None)]
    rows.append(batch_row("b") | {"response": {"status_code": 200, "body": {"error": {"message": "no"}}}})
    assert len(answers(write(tmp_path, rows), "openai_batch")) == 1
    assert "3 rows of the batch are left out (expired: 1, no completion: 1, status 500: 1)" in caplog.text


def made(prompt_id, content, name):
    """A row whose completion has a name of the server's."""
    row = batch_row(prompt_id, content)
    row["response"]["body"]["id"] = name
    return row


def test_a_row_that_is_there_twice_votes_once_and_two_batches_of_one_prompt_twice(tmp_path, caplog):
    rows = [
        made("a", "1", "c-1"),
        made("b", "3", "c-2"),
        made("a", "1", "c-1"),
        made("a", "1", "c-3"),
        batch_row("a", "2"),
    ]
    found = answers(write(tmp_path, rows), "openai_batch")
    assert [(one.prompt_id, one.sample, one.response) for one in found] == [
        ("a", 0, "1"), ("a", 1, "1"), ("a", 2, "2"), ("b", 0, "3"),
    ]  # fmt: skip
    assert "1 rows of the batch are left out (there twice: 1)" in caplog.text


def test_choices_of_one_completion_are_samples_though_it_has_one_name(tmp_path, caplog):
    row = made("a", "1", "c-1")
    choices = [{"index": n, "finish_reason": "stop", "message": {"content": str(n)}} for n in (1, 0)]
    row["response"]["body"]["choices"] = choices
    assert [one.response for one in answers(write(tmp_path, [row, row]), "openai_batch")] == ["1", "0"]
    assert "there twice: 2" in caplog.text


def test_a_prompt_that_failed_is_not_given_the_response_to_another_whose_id_looks_like_its_second(tmp_path):
    prompts = [{"prompt_id": name, "prompt": name} for name in ("q", "q#1", "r", "r#2")]
    requests = plan_requests(prompts, SAMPLING, seed=0, stage="teacher_responses")
    failed = batch_row("q", status=500)
    for rows, expected in (
        ([batch_row("q#1", "other"), failed, batch_row("r#2", "x")], [("q#1", "other"), ("r#2", "x")]),
        ([failed, batch_row("r#1", "first"), batch_row("r#2", "x")], [("r", "first"), ("r#2", "x")]),
    ):
        engine = RecordedEngine(write(tmp_path, rows), "openai_batch")
        found = [(one.prompt_id, one.response) for batch in engine.generate(requests, SAMPLING) for one in batch]
        assert found == expected
        assert engine.count(requests) == len(expected)
    alone = requests[:1]  # the shard of q, where nobody knows that q#1 is a prompt
    engine = RecordedEngine(write(tmp_path, [batch_row("q#1", "other"), failed]), "openai_batch")
    assert engine.count(alone) == 0


def test_log_probabilities_of_a_batch_are_kept(tmp_path):
    row = batch_row("a")
    tokens = [{"token": "x", "logprob": value} for value in (-1.0, -2.0)]
    row["response"]["body"]["choices"][0]["logprobs"] = {"content": tokens}
    assert answers(write(tmp_path, [row]), "openai_batch")[0].mean_logprob == -1.5


def test_reasoning_is_read_with_its_tags_or_put_between_them(tmp_path):
    rows = [{"prompt_id": "a", "response": "1", "reasoning": "[T]0 + 1[/T]"}]
    rows.append({"prompt_id": "b", "response": "2", "reasoning_content": "1 + 1"})
    found = answers(write(tmp_path, rows), "responses")
    assert [one.reasoning for one in found] == ["[T]0 + 1[/T]", "<think>\n1 + 1\n</think>\n\n"]


@pytest.mark.parametrize("value", [float("nan"), 2**31, "seven", "1e999", True])
def test_a_count_that_no_table_can_hold_is_refused_with_its_row(tmp_path, value):
    path = write(tmp_path, [{"prompt_id": "a", "response": "1", "response_tokens": value}])
    with pytest.raises(InputError, match=r"row 1, field 'response_tokens': is .*not a number that a table can hold"):
        answers(path, "responses")


def test_what_is_done_is_not_given_again(tmp_path):
    path = write(tmp_path, [{"prompt_id": "a", "response": str(number)} for number in range(3)])
    assert [one.sample for one in answers(path, "responses", {("a", 1)})] == [0, 2]


def test_a_file_for_other_prompts_is_refused(tmp_path):
    path = write(tmp_path, [{"prompt_id": "z", "response": "1"}])
    with pytest.raises(InputError, match=r"answers.jsonl: holds no response to any of the 2 prompts"):
        answers(path, "responses")


@pytest.mark.parametrize(
    ("form", "row", "words"),
    [
        ("responses", {"response": "1"}, r"row 2, field 'prompt': is missing, and so is 'prompt_id'"),
        ("responses", {"prompt_id": "a"}, r"row 2, field 'response': is missing"),
        ("responses", {"prompt_id": "a", "response": 4}, r"row 2, field 'response': is a int, not text"),
        (
            "responses",
            {"prompt_id": "a", "response": "4", "temperature": "hot"},
            r"row 2, field 'temperature': is 'hot', not a number",
        ),
        ("gsm8k_solutions", {"question": "x"}, r"row 2: has no model's solution"),
        ("gsm8k_solutions", {"question": "x", "m": {"text": "1"}}, r"row 2, field 'm.solution': is missing"),
        ("openai_batch", {"id": "x"}, r"row 2, field 'custom_id': is missing"),
        ("openai_batch", {"custom_id": "a", "method": "POST", "body": {}}, "row 2: is the input of a batch job"),
        ("openai_batch", {"custom_id": "a", "result": {"type": "succeeded"}}, "row 2: is no row of the output"),
        ("openai_batch", {"custom_id": "a", "response": {"status_code": 200}}, r"field 'response.body.choices'"),
    ],
)
def test_a_malformed_row_is_named_with_its_field(tmp_path, form, row, words):
    good = {
        "responses": {"prompt_id": "a", "response": "1"},
        "gsm8k_solutions": {"question": "q", "m": {"solution": "1"}},
        "openai_batch": batch_row("a"),
    }[form]
    with pytest.raises(InputError, match=words):
        answers(write(tmp_path, [good, row]), form)


def test_a_batch_s_ids_are_of_any_type_and_a_table_s_numbers_may_be_text(tmp_path):
    requests = plan_requests([{"prompt_id": "7", "prompt": "x"}], SAMPLING, seed=0, stage="teacher_responses")
    engine = RecordedEngine(write(tmp_path, [batch_row(7, "a"), batch_row(7.0, "b")]), "openai_batch")
    assert [one.response for batch in engine.generate(requests, SAMPLING) for one in batch] == ["a", "b"]
    path = tmp_path / "r.csv"
    path.write_text("prompt_id,response,temperature,response_tokens,stop_reason\na,1,0.7,9,max_tokens\n")
    (found,) = answers(path, "responses")
    assert (found.temperature, found.response_tokens, found.finish_reason) == (0.7, 9, "length")
