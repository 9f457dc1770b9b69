"""Readings of 200 model outputs against what a reader of each output says that it states."""

import gzip
import json
from pathlib import Path

from retort.text.extract import read_answer

LABELLED = Path(__file__).parents[2] / "data/mmlu_pro/labelled.jsonl.gz"


def rows():
    with gzip.open(LABELLED, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def test_labels_are_letters_of_the_text_with_a_reason_each():
    labelled = rows()
    assert len(labelled) == len({(row["model"], row["question_id"]) for row in labelled}) == 200
    for row in labelled:
        assert row["reason"]
        assert all(letter in row["model_output"] for letter in row["stated"])


def test_precision_and_recall_of_letters_on_the_labelled_outputs():
    wrong, missed, read, stated = [], [], 0, 0
    for row in rows():
        answer = read_answer(row["model_output"], "choice", row["options"])
        name = f"{row['model']} {row['question_id']}: {answer}, stated {row['stated']}"
        read += answer is not None
        stated += bool(row["stated"])
        if answer is not None and answer.value not in row["stated"]:
            wrong.append(name)
        if row["stated"] and (answer is None or answer.value not in row["stated"]):
            missed.append(name)
    assert stated == 138
    assert 1 - len(wrong) / read >= 0.995, wrong
    assert 1 - len(missed) / stated >= 0.99, missed
