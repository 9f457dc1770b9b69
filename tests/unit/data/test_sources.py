import json

import pytest

from retort.config.data import SourceConfig
from retort.data.sources import gold_answer, load_prompts
from retort.errors import InputError


def source(tmp_path, rows, **settings):
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [SourceConfig(path="p.jsonl", **settings)]


def test_prompt_knows_its_file_row_and_gold_answer(tmp_path):
    rows = [{"question": "How many?", "answer": "2 + 2 = 4\n#### 4"}]
    [prompt] = load_prompts(source(tmp_path, rows, prompt_field="question", answer_field="answer"), tmp_path)
    assert (prompt.prompt, prompt.answer, prompt.source, prompt.row) == ("How many?", "4", "p.jsonl", 1)


def test_id_depends_on_the_text_alone(tmp_path):
    first = list(load_prompts(source(tmp_path, [{"prompt": "a b"}, {"prompt": "c"}]), tmp_path))
    second = list(load_prompts(source(tmp_path, [{"prompt": "c"}, {"prompt": "a  b\n"}]), tmp_path))
    assert {prompt.prompt_id for prompt in first} == {prompt.prompt_id for prompt in second}


def test_duplicate_ids_are_named_with_both_rows(tmp_path):
    rows = [{"prompt": "a", "id": 1}, {"prompt": "b", "id": 1}]
    with pytest.raises(InputError, match=r"row 2, field 'id': id '1' was used before, in p.jsonl, row 1"):
        list(load_prompts(source(tmp_path, rows, id_field="id"), tmp_path))


@pytest.mark.parametrize("rows", [[{"prompt": "a"}], [{"prompt": "a", "answer": ["x"]}]])
def test_row_without_the_gold_answer_that_was_promised_is_refused(tmp_path, rows):
    with pytest.raises(InputError, match="row 1, field 'answer'"):
        list(load_prompts(source(tmp_path, rows, answer_field="answer"), tmp_path))


def test_null_gold_answer_means_unknown_and_numbers_are_taken(tmp_path):
    rows = [{"prompt": "a", "answer": None}, {"prompt": "b", "answer": 0.5}]
    answers = [prompt.answer for prompt in load_prompts(source(tmp_path, rows, answer_field="answer"), tmp_path)]
    assert answers == [None, "0.5"]


def test_hub_data_sets_are_read_by_the_datasets_library(tmp_path):
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub/train.jsonl").write_text('{"prompt": "a"}\n{"prompt": "b"}\n')
    config = SourceConfig(path=str(tmp_path / "hub"), type="datasets")
    assert [(prompt.prompt, prompt.row) for prompt in load_prompts([config], tmp_path)] == [("a", 1), ("b", 2)]


@pytest.mark.parametrize(
    ("text", "answer"),
    [("#### 1,000", "1,000"), ("x\nA: 18", "18"), (" 7 ", "7"), ("a\n#### 1\n#### 2", "2"), ("A: b\nc", "A: b\nc")],
)
def test_gold_answer_is_what_its_marker_marks(text, answer):
    assert gold_answer(text) == answer
