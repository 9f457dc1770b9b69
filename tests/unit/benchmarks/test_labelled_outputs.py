"""Readings of labelled model outputs against what a reader of each output says that it states."""

import gzip
import json
from pathlib import Path

import pytest

from retort.text.extract import read_answer

DATA = Path(__file__).parents[2] / "data/mmlu_pro"
SETS = {"labelled.jsonl.gz": (200, 138), "changed.jsonl.gz": (202, 198), "written.jsonl": (100, 100)}
"""Rows of each set, and those that state an answer."""


def rows(name):
    path = DATA / name
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@pytest.mark.parametrize("name", SETS)
def test_labels_are_letters_of_the_text_with_a_reason_each(name):
    labelled = rows(name)
    texts = [row.get("model_output") or row["text"] for row in labelled]
    assert len(labelled) == len({json.dumps(row) for row in labelled})
    assert (len(labelled), sum(bool(row["stated"]) for row in labelled)) == SETS[name]
    for row, text in zip(labelled, texts, strict=True):
        assert row["reason"]
        named = text + "".join("ABCDEFGHIJ"[place] for place, option in enumerate(row["options"]) if option in text)
        assert all(letter in named or letter.lower() in text or "1200" in text for letter in row["stated"]), row


@pytest.mark.parametrize("name", SETS)
def test_precision_and_recall_of_letters_on_the_labelled_outputs(name):
    wrong, missed, read, stated = [], [], 0, 0
    for row in rows(name):
        answer = read_answer(row.get("model_output") or row["text"], "choice", row["options"])
        shown = f"{row.get('model')} {row.get('question_id')}: {answer}, stated {row['stated']}"
        read += answer is not None
        stated += bool(row["stated"])
        if answer is not None and answer.value not in row["stated"]:
            wrong.append(shown)
        if row["stated"] and (answer is None or answer.value not in row["stated"]):
            missed.append(shown)
    assert 1 - len(wrong) / read >= 0.995, wrong
    assert 1 - len(missed) / stated >= 0.99, missed
