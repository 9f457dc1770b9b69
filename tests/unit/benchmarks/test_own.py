"""Prompts of one's own in `retort vote` and `retort score`: any file, read by the configuration's kind of answer."""

import json
from collections import Counter

import pytest

from retort.benchmarks.own import OwnTask, own_task, read_own
from retort.benchmarks.recorded import collect_recorded
from retort.benchmarks.score import score
from retort.config.data import VotesConfig
from retort.errors import ConfigError, InputError
from retort.votes.answers import Counts
from retort.votes.labels import count_votes

CONFIG = """answer: {kind}
teacher: {{type: recorded, path: responses.jsonl}}
student: {{model: student}}
prompts: {{sources: [{{path: prompts.jsonl, prompt_field: question, answer_field: gold}}]}}
evaluate: {{models: [base], benchmarks: [{{name: heldout}}]}}
"""


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def config(tmp_path):
    write(
        tmp_path / "prompts.jsonl",
        {"question": "How  many?", "gold": "72 clips"},
        {"question": "Else?", "gold": "many"},
    )
    (tmp_path / "run.yaml").write_text(CONFIG.format(kind="number"))
    return tmp_path / "run.yaml"


ROWS = [
    {"prompt": "How many?", "response": "The answer is 72.", "finish_reason": "stop"},
    {"prompt": "How many?", "response": "The answer is 72", "finish_reason": "length"},
    {"prompt": "How many?", "responses": ["So 2x.", "It is **1\u202f072**."], "finish_reason": "stop"},
    {"question": "Else?", "output": "#### 3", "finish_reason": "stop"},
    {"prompt_id": 7, "completion": "#### 4", "answer": "4", "finish_reason": "SAFETY"},
]


def test_own_responses_are_voted_on_with_the_configuration_s_kind_and_gold(config, tmp_path):
    counts = Counts()
    ballots = collect_recorded("own", [write(tmp_path / "r.jsonl", *ROWS)], counts, own_task(config))
    assert [ballot.answers for ballot in ballots.values()] == [["72", None, None, "1072"], ["3"], [None]]
    assert counts.not_whole == Counter({"length": 1, "safety": 1})
    summary = count_votes(ballots, "number", VotesConfig(), counts).summary
    # "many" is no number: it is counted, and the label 3 is neither right nor wrong by it
    assert (summary.unread_gold, summary.known, summary.not_whole) == (1, 0, {"length": 1, "safety": 1})


def test_own_responses_are_scored_where_gold_is_known(config, tmp_path):
    task = own_task(config)
    scores = score("own", read_own(task, write(tmp_path / "r.jsonl", *ROWS)), kind=task.kind)
    assert (scores.rows, scores.without_gold, scores.accuracy) == (5, 1, 3 / 5)
    assert (scores.official_accuracy, scores.official_rule, scores.official_accuracies) == (None, None, {})
    assert scores.not_whole == {"length": 1, "safety": 1}


@pytest.mark.parametrize(
    ("kind", "row", "right"),
    [
        ("expression", {"response": r"so $\boxed{1+x}$", "answer": "x + 1"}, True),
        ("text", {"response": "The answer is New York.", "answer": "new york"}, True),
        ("choice", {"response": "The answer is Lyon.", "answer": "B", "options": ["Paris", "Lyon"]}, True),
        ("choice", {"response": "The answer is (A).", "answer": "The answer is (B)"}, False),
    ],
)
def test_every_kind_of_answer_is_read(tmp_path, kind, row, right):
    items = read_own(OwnTask(kind), write(tmp_path / "r.jsonl", {"prompt": "p", **row}))
    assert score("own", items, kind=kind).accuracy == right


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"response": "x"}, "names no prompt"),
        ({"prompt": "p"}, "there is no response"),
        ({"prompt": "p", "response": 3}, "neither a string nor a list"),
        ({"prompt": "p", "response": "x", "options": "a, b"}, "not a list of texts"),
    ],
)
def test_a_row_that_does_not_fit_is_named(tmp_path, row, problem):
    path = write(tmp_path / "r.jsonl", {"prompt": "p", "response": "x"}, row)
    with pytest.raises(InputError, match=problem) as caught:
        list(read_own(OwnTask("number"), path))
    assert (caught.value.file, caught.value.row) == (str(path), 2)


def test_open_ended_answers_cannot_be_voted_on(config):
    config.write_text(CONFIG.format(kind="open") + "judge: {model: {type: recorded, path: j.jsonl}}\n")
    with pytest.raises(ConfigError, match="open has no answer to read"):
        own_task(config)
