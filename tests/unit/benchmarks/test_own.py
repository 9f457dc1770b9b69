"""Prompts of one's own in `retort vote` and `retort score`: any file, read by the configuration's kind of answer."""

import json
from collections import Counter
from decimal import Decimal

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


@pytest.mark.parametrize(
    "source", ["system: Think.", "template: 'Q: {{question}}'", "id_field: question", "system: Think., id_field: key"]
)
def test_gold_is_found_though_the_configuration_puts_words_around_the_question(config, tmp_path, source):
    prompt = "" if "template" in source else "prompt_field: question, "
    text = CONFIG.format(kind="number").replace("prompt_field: question, ", f"{prompt}{source}, ")
    rows = [{"question": f"How {n}?", "gold": str(n), "key": f"k{n}"} for n in range(2)]
    write(tmp_path / "prompts.jsonl", *rows)
    config.write_text(text)
    asked = {"prompt": "Q: How 1?"} if "template" in source else {"question": "How 1?"}
    (item,) = read_own(own_task(config), write(tmp_path / "r.jsonl", asked | {"response": "1"}))
    assert item.answer == "1"


def test_a_last_message_that_two_prompts_share_has_no_gold_of_its_own(config, tmp_path):
    chats = [[{"role": "system", "content": s}, {"role": "user", "content": "How many?"}] for s in ("a", "b")]
    write(tmp_path / "prompts.jsonl", *({"question": chat, "gold": str(n)} for n, chat in enumerate(chats)))
    rows = [{"question": "How many?", "response": "1"}, *({"messages": chat, "response": "1"} for chat in chats)]
    items = list(read_own(own_task(config), write(tmp_path / "r.jsonl", *rows)))
    assert [item.answer for item in items] == ["", "0", "1"]
    assert len({item.group for item in items}) == 3


def test_a_conversation_is_the_prompt_that_it_asks(config, tmp_path):
    chat = [{"from": "human", "value": "How many?"}, {"from": "gpt", "value": "not read"}]
    rows = [{name: chat, "response": "72"} for name in ("prompt", "messages")] + [
        {"prompt": "How many?", "response": "72"}
    ]
    items = list(read_own(own_task(config), write(tmp_path / "r.jsonl", *rows)))
    assert {(item.group, item.answer) for item in items} == {("How many?", "72 clips")}


def test_what_a_table_has_for_missing_is_no_gold_and_no_model(config, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    row = {"prompt": "How many?", "response": "72", "model": None}
    (item,) = read_own(own_task(config), write(tmp_path / "r.jsonl", row | {"gold": float("nan")}))
    assert (item.answer, item.model) == ("72 clips", "response")
    table = pa.table({"prompt": ["x"], "response": ["7"], "gold": pa.array([Decimal("7.50")])})
    pq.write_table(table, tmp_path / "r.parquet")
    (item,) = read_own(own_task(config), tmp_path / "r.parquet")
    assert item.answer == "7.50"


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"prompt": "x", "responses": []}, "field 'responses': is an empty list: there is no response"),
        ({"prompt": "x", "response": "1", "gold": ["1"]}, "field 'gold': is a list"),
        ({"prompt": [{"role": "assistant", "content": "x"}], "response": "1"}, "holds no message of a user"),
    ],
)
def test_a_value_that_says_nothing_is_named(config, tmp_path, row, problem):
    with pytest.raises(InputError, match=problem):
        list(read_own(own_task(config), write(tmp_path / "r.jsonl", row)))
