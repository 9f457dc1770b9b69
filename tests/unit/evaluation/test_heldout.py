"""The test split as a benchmark."""

from __future__ import annotations

import pytest

from retort.config.data import BenchmarkConfig, SamplingConfig
from retort.engines.base import Response
from retort.errors import InputError
from retort.evaluation.heldout import evaluate_heldout
from retort.io import tables


def prompt(prompt_id, answer):
    return {"prompt_id": prompt_id, "prompt": f"{prompt_id} ?", "answer": answer, "source": "x", "row": 1}


class Says:
    """Answers every request with its text."""

    model, parameters = "says", None

    def __init__(self, text):
        self.text, self.asked = text, []

    def count(self, requests):
        return len(requests)

    def generate(self, requests, sampling, done=()):
        self.asked += requests
        yield [
            Response(one.prompt_id, one.sample, self.model, one.temperature, one.seed, self.text, "stop", 5, 7)
            for one in requests
        ]


@pytest.fixture
def evaluate(tmp_path):
    def run(rows, text, **more):
        tables.write_table(tmp_path / "test.parquet", rows, tables.PROMPTS)
        engine, config = Says(text), BenchmarkConfig(name="heldout", **more)
        log = tmp_path / "log"
        log.unlink(missing_ok=True)
        found = evaluate_heldout(config, "number", engine, tmp_path / "test.parquet", log, SamplingConfig())
        tables.write_table(tmp_path / "results.parquet", found, tables.RESULTS)
        return found, engine.asked

    return run


def test_the_prompts_whose_answer_is_known_are_asked_and_read(evaluate):
    rows, asked = evaluate([prompt("a", "3"), prompt("b", None), prompt("c", "1/2")], "so #### 0.5")
    assert [one.prompt for one in asked] == ["a ?", "c ?"]
    assert [(row["item_id"], row["read"], row["score"], row["official"]) for row in rows] == [
        ("a", "0.5", 0.0, False),
        ("c", "0.5", 1.0, True),
    ]
    assert rows[0]["harness"] == {}


def test_a_response_without_an_answer_is_wrong_and_unread(evaluate):
    ((row,), _) = evaluate([prompt("a", "3")], "no idea")
    assert (row["read"], row["correct"]) == (None, False)


def test_seeds_depend_on_the_item_alone(evaluate):
    _, few = evaluate([prompt("c", "1")], "1", temperature=1.0)
    _, many = evaluate([prompt("a", "3"), prompt("c", "1")], "1", temperature=1.0)
    assert few[0] == many[1]
    assert many[0].seed != many[1].seed


def test_limit_takes_the_first_rows(evaluate):
    rows, _ = evaluate([prompt("a", "1"), prompt("b", "2")], "1", limit=1)
    assert [row["item_id"] for row in rows] == ["a"]


def test_no_answer_at_all_says_how_to_get_some(evaluate):
    with pytest.raises(InputError, match=r"none of the 1 held-out prompts has a gold answer.*answer_field"):
        evaluate([prompt("a", None)], "1")


def test_held_out_prompts_take_no_settings_of_the_harness():
    with pytest.raises(ValueError, match="num_fewshot: only for a task of lm-evaluation-harness"):
        BenchmarkConfig(name="heldout", num_fewshot=2)


def test_a_gold_answer_that_is_no_number_is_counted_and_its_prompt_not_asked(evaluate, caplog):
    rows, _ = evaluate([prompt("a", "72 clips"), prompt("b", "many"), prompt("c", "some")], "The answer is 72.")
    assert [(row["item_id"], row["correct"]) for row in rows] == [("a", True)]
    assert "2 of 3 gold answers are no number, so their prompts are not asked; the first is 'many'" in caplog.text
    with pytest.raises(InputError, match="none of the 1 gold answers is a number"):
        evaluate([prompt("b", "many")], "1")
