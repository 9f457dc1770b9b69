"""Questions of each benchmark and the scores of responses to them."""

from __future__ import annotations

import json

import pytest

from retort import tables
from retort.config.data import BenchmarkConfig
from retort.errors import InputError
from retort.evaluation.benchmarks import load_questions, score_response

GSM8K = {"question": "2 {eggs} and 1 more ?", "answer": "2 + 1 = <<2+1=3>>3\n#### 3"}
PLUS = {"question": "20 eggs and 1 more ?", "answer": "21", "solution": "#### 21", "seed_question": "2 eggs ?"}
MMLU = {"question_id": 70, "question": "Which {options} ?", "options": ["red", "blue {question}"], "answer": "B"}


@pytest.fixture
def load(tmp_path):
    def load(task, rows, **more):
        if task == "heldout":
            tables.write_table(tmp_path / "test.parquet", rows, tables.PROMPTS)
        else:
            (tmp_path / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        config = BenchmarkConfig(name="b", task=task, path=None if task == "heldout" else "items.jsonl", **more)
        return config, load_questions(config, tmp_path, tmp_path / "test.parquet")

    return load


def prompt(prompt_id, answer):
    return {"prompt_id": prompt_id, "prompt": f"{prompt_id} ?", "answer": answer, "source": "x", "row": 1}


def test_heldout_takes_the_prompts_whose_answer_is_known(load):
    config, questions = load("heldout", [prompt("a", "3"), prompt("b", None), prompt("c", "1/2")])
    assert [(one.item_id, one.answer) for one in questions] == [("a", "3"), ("c", "1/2")]
    assert score_response(config, "number", questions[1], "so #### 0.5") == ("0.5", True, True)
    assert score_response(config, "number", questions[1], "no idea") == (None, False, False)


def test_heldout_without_any_answer_says_how_to_get_some(load):
    with pytest.raises(InputError, match=r"none of the 1 held-out prompts has a gold answer.*answer_field"):
        load("heldout", [prompt("a", None)])


def test_gsm8k_asks_the_bare_question_and_keeps_the_solution_for_the_published_rule(load):
    config, (question,) = load("gsm8k", [GSM8K])
    assert (question.prompt, question.answer) == ("2 {eggs} and 1 more ?", "3")
    assert score_response(config, "text", question, "2 + 1 = 3\n#### 3") == ("3", True, True)
    # The published rule compares strings after "####", which this response lacks.
    assert score_response(config, "text", question, "The answer is 3.00") == ("3.00", True, False)
    assert score_response(config, "text", question, "#### 4") == ("4", False, False)


def test_gsm_plus_variants_of_one_seed_share_a_group(load):
    other = PLUS | {"question": "200 eggs and 1 more ?", "answer": "201"}
    _, questions = load("gsm_plus", [PLUS, other, PLUS | {"seed_question": "other ?"}])
    groups = [one.group_id for one in questions]
    assert groups[0] == groups[1] != groups[2]
    assert len({one.item_id for one in questions}) == 3


def test_gsm_plus_questions_without_enough_information_want_that_said(load):
    config, (question,) = load("gsm_plus", [PLUS | {"answer": "None"}])
    assert score_response(config, "number", question, "This cannot be determined: the price is not given.")[1:] == (
        True,
        True,
    )
    assert score_response(config, "number", question, "#### 21")[1] is False


def test_mmlu_pro_lists_lettered_options_and_fills_each_place_once(load):
    config, (question,) = load("mmlu_pro", [MMLU])
    assert question.prompt.startswith("Which {options} ?\n\n(A) red\n(B) blue {question}\n\nThink step by step")
    assert question.item_id == "mmlu_pro-70"
    assert score_response(config, "number", question, "So the answer is (B).") == ("B", True, True)
    # Bold, which the published pattern misses.
    assert score_response(config, "number", question, "The answer is **B**") == ("B", True, False)
    assert score_response(config, "number", question, "The answer is (A)")[1:] == (False, False)


def test_a_prompt_of_the_configuration_replaces_the_benchmark_s_own(load):
    _, (question,) = load("gsm8k", [GSM8K], prompt="Q: {question}\nA:")
    assert question.prompt == "Q: 2 {eggs} and 1 more ?\nA:"
    with pytest.raises(ValueError, match="pattern"):
        BenchmarkConfig(name="b", task="gsm8k", path="x", prompt="no place for it")


def test_limit_takes_the_first_rows(load):
    assert [one.item_id for one in load("gsm8k", [GSM8K] * 5, limit=2)[1]] == ["gsm8k-1", "gsm8k-2"]
    assert [one.item_id for one in load("heldout", [prompt("a", "1"), prompt("b", "2")], limit=1)[1]] == ["a"]


@pytest.mark.parametrize(
    ("task", "row", "words"),
    [
        ("gsm8k", {"question": "2 ?"}, r"items.jsonl, row 2, field 'answer': is missing"),
        ("gsm8k", GSM8K | {"answer": "three"}, r"row 2, field 'answer': has no '#### NUMBER'"),
        ("gsm_plus", {"question": "2 ?", "answer": "2"}, r"row 2, field 'seed_question': is missing"),
        ("mmlu_pro", MMLU | {"options": "red"}, r"row 2, field 'options': is not a list of texts"),
        ("mmlu_pro", MMLU | {"answer": "C"}, r"row 2, field 'answer': is 'C', not one of the 2 options' letters"),
        ("mmlu_pro", MMLU, r"items 1 and 2 share the id 'mmlu_pro-70'"),
    ],
)
def test_a_malformed_row_is_named(load, task, row, words):
    good = {"gsm8k": GSM8K, "gsm_plus": PLUS, "mmlu_pro": MMLU}[task]
    with pytest.raises(InputError, match=words):
        load(task, [good, row])
