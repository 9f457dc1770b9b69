import json

import pytest

from retort.benchmarks.items import read_items
from retort.errors import InputError


def file(tmp_path, *rows):
    path = tmp_path / "r.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_example_solutions_are_one_item_a_model(tmp_path):
    row = {
        "question": "q",
        "ground_truth": "so\nA: 3",
        "6b": {"solution": "A: 3", "is_correct": True},
        "175b": {"solution": "A: 4", "is_correct": False},
    }
    items = list(read_items("gsm8k", file(tmp_path, row)))
    assert [(item.model, item.group, item.answer, item.label) for item in items] == [
        ("6b", "q", "3", True),
        ("175b", "q", "3", False),
    ]


@pytest.mark.parametrize(
    "row",
    [
        {"question": "q", "answer": "x\n#### 3", "response": "3"},
        {"question": "q", "answer": 3, "model_output": "3"},
        {"doc": {"question": "q", "answer": "#### 3"}, "resps": [["3"]], "target": "3", "filter": "strict-match"},
        {"gsm8k_test_index": 0, "gsm8k_gold": "3", "model": "gpt4", "model_output": "3", "upstream_result": True},
    ],
)
def test_published_shapes_are_read(tmp_path, row):
    [item] = read_items("gsm8k", file(tmp_path, row))
    assert (item.response, item.answer) == ("3", "3")


def test_list_of_responses_is_several_items_of_one_group(tmp_path):
    items = list(read_items("gsm8k", file(tmp_path, {"question": "q", "answer": "3", "responses": ["3", "4"]})))
    assert [(item.group, item.response) for item in items] == [("q", "3"), ("q", "4")]


@pytest.mark.parametrize(
    ("task", "row", "problem"),
    [
        ("gsm8k", {"question": "q", "response": "3"}, "'answer': there is no gold answer"),
        ("gsm8k", {"question": "q", "answer": "3"}, "'response': there is no response"),
        ("gsm8k", {"question": "q", "answer": "3", "response": 3}, "is neither a string nor a list"),
        ("mmlu_pro", {"question": "q", "answer": "3", "response": "B"}, "'3' is no letter"),
        (
            "mmlu_pro",
            {"question": "q", "answer": "B", "options": ["x"], "response": "B"},
            "B lies beyond the 1 options",
        ),
    ],
)
def test_row_that_does_not_fit_is_named(tmp_path, task, row, problem):
    with pytest.raises(InputError, match=problem) as caught:
        list(read_items(task, file(tmp_path, row)))
    assert caught.value.row == 1
