import datetime
import decimal
import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from retort.config.data import SourceConfig
from retort.data.sources import gold_answer, load_prompts
from retort.errors import ConfigError, InputError
from retort.modeling.chat import messages_of
from retort.modeling.conversations import compared, shown


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


def one(tmp_path, row, **settings):
    [prompt] = load_prompts(source(tmp_path, [row], **settings), tmp_path)
    return prompt


CHAT = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "2 ?"}]


@pytest.mark.parametrize(
    ("given", "messages"),
    [
        ([{"role": "user", "content": "2 ?"}], CHAT[1:]),
        ([*CHAT, {"role": "assistant", "content": "two"}], CHAT),
        (
            [
                {"from": "system", "value": "be brief"},
                {"from": "human", "value": "2 ?"},
                {"from": "gpt", "value": "two"},
            ],
            CHAT,
        ),
        (
            [
                *CHAT,
                {"role": "assistant", "content": "two"},
                {"role": "user", "content": [{"type": "text", "text": "3 ?"}]},
            ],
            [*CHAT, {"role": "assistant", "content": "two"}, {"role": "user", "content": "3 ?"}],
        ),
    ],
)
def test_conversations_are_taken_up_to_the_user_s_last_message(tmp_path, given, messages):
    prompt = one(tmp_path, {"messages": given}, prompt_field="messages").prompt
    assert messages_of(prompt) == messages
    if messages == CHAT[1:]:
        assert prompt == "2 ?"


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ([{"role": "tool", "content": "x"}, CHAT[1]], r"row 1, field 'messages\[0\]': has the role 'tool'"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], r"has a part that is no text \(image_url\)"),
        ([{"role": "user", "content": 3}], "has a content that is a number, not text"),
        ([{"role": "user", "content": " "}], "is empty"),
        ([{"role": "assistant", "content": "x"}], "holds no message of a user"),
        (["x", CHAT[1]], "is a string, not a message"),
        ([CHAT[1], CHAT[0], CHAT[1]], "has a system prompt after other messages"),
        ([{"role": "user", "content": "\ud83d"}], "half a surrogate pair"),
    ],
)
def test_what_is_no_conversation_is_refused_with_row_and_message(tmp_path, given, problem):
    with pytest.raises(InputError, match=problem):
        one(tmp_path, {"messages": given}, prompt_field="messages")


def test_a_row_with_a_conversation_names_the_setting_that_reads_it(tmp_path):
    with pytest.raises(InputError, match="set prompt_field: conversations"):
        one(tmp_path, {"conversations": [{"from": "human", "value": "2 ?"}]})


def test_a_system_prompt_goes_before_prompts_without_one(tmp_path):
    assert messages_of(one(tmp_path, {"prompt": "2 ?"}, system="be brief").prompt) == CHAT
    own = [{"role": "system", "content": "in French"}, CHAT[1]]
    assert messages_of(one(tmp_path, {"m": own}, prompt_field="m", system="be brief").prompt) == own


def test_a_message_that_looks_like_a_conversation_stays_a_message(tmp_path):
    text = json.dumps({"messages": CHAT})
    assert messages_of(one(tmp_path, {"prompt": text}).prompt) == [{"role": "user", "content": text}]


def test_a_shared_system_prompt_makes_prompts_neither_alike_nor_equal_to_those_of_another(tmp_path):
    first, second = (one(tmp_path, {"prompt": "2 ?"}, system=words).prompt for words in ("be brief", "be long"))
    assert compared(first) != compared(second)
    assert compared(first).split("\n")[1:] == ["2 ?"]
    assert shown(first) == "System: be brief\n\nUser: 2 ?"


def test_a_template_makes_the_prompt_of_several_fields(tmp_path):
    row = {"q": "Which?", "options": ["a", "b"]}
    template = "{{ q }}{% for one in options %}\n{{ loop.index }}) {{ one }}{% endfor %}"
    assert one(tmp_path, row, template=template).prompt == "Which?\n1) a\n2) b"
    with pytest.raises(InputError, match=r"row 1: the template fails \('gone' is undefined\).*the row has: options, q"):
        one(tmp_path, row, template="{{ gone }}")
    with pytest.raises(InputError, match="gives an empty prompt"):
        one(tmp_path, row, template="{% if false %}{{ q }}{% endif %}")
    with pytest.raises(ConfigError, match=r"prompts\.sources\[0\]\.template: is no Jinja template"):
        one(tmp_path, row, template="{{ q")
    with pytest.raises(InputError, match="the template fails"):
        one(tmp_path, row, template="{{ q.__class__.__mro__ }}")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (7, "7"),
        (2.5, "2.5"),
        (True, "True"),
        ("x", "x"),
        ([1, "a"], '[1, "a"]'),
        ({"b": 1, "a": 2}, '{"a": 2, "b": 1}'),
        (10**30, "1" + "0" * 30),
    ],
)
def test_ids_of_any_type_are_read(tmp_path, value, expected):
    assert one(tmp_path, {"prompt": "a", "id": value}, id_field="id").prompt_id == expected


def table(tmp_path, **columns):
    pq.write_table(pa.table({"prompt": ["a"], **columns}), tmp_path / "t.parquet")
    return tmp_path / "t.parquet"


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (decimal.Decimal("1500.50"), pa.decimal128(10, 2), "1500.50"),
        (datetime.date(2024, 2, 29), pa.date32(), "2024-02-29"),
        (datetime.datetime(2024, 2, 29, 1, 2), pa.timestamp("s"), "2024-02-29T01:02:00"),
        (None, pa.int64(), None),
    ],
)
def test_decimals_and_dates_are_answers_and_ids(tmp_path, value, kind, expected):
    table(tmp_path, answer=pa.array([value], kind))
    [prompt] = load_prompts([SourceConfig(path="t.parquet", answer_field="answer")], tmp_path)
    assert prompt.answer == expected
    if expected is not None:
        [prompt] = load_prompts([SourceConfig(path="t.parquet", id_field="answer")], tmp_path)
        assert prompt.prompt_id == expected


@pytest.mark.parametrize("text", ["1e400", "NaN", "-Infinity"])
def test_a_gold_answer_that_is_no_number_is_refused(tmp_path, text):
    (tmp_path / "p.jsonl").write_text(f'{{"prompt": "a", "answer": {text}}}\n')
    with pytest.raises(InputError, match=r"row 1, field 'answer': is .*, not a number.*null where nothing is known"):
        list(load_prompts([SourceConfig(path="p.jsonl", answer_field="answer")], tmp_path))


def test_a_date_as_prompt_is_called_a_date(tmp_path):
    table(tmp_path, day=pa.array([datetime.date(2024, 1, 1)]))
    with pytest.raises(InputError, match="is a date, not a string"):
        list(load_prompts([SourceConfig(path="t.parquet", prompt_field="day")], tmp_path))


def test_a_folder_of_shards_is_read_by_name_and_its_rows_know_their_file(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d/b.jsonl").write_text('{"prompt": "c"}\n')
    (tmp_path / "d/a.csv").write_text("prompt,id\na,1\nb,1\n")
    found = [(p.prompt, p.source, p.row) for p in load_prompts([SourceConfig(path="d")], tmp_path)]
    assert found == [("a", "d/a.csv", 1), ("b", "d/a.csv", 2), ("c", "d/b.jsonl", 1)]
    with pytest.raises(InputError, match=r"d/a\.csv, row 2, field 'id': id '1' was used before, in d/a\.csv, row 1"):
        list(load_prompts([SourceConfig(path="d", id_field="id")], tmp_path))


@pytest.mark.parametrize("kind", ["file", "datasets"])
def test_a_data_set_that_was_saved_to_disk_is_read(tmp_path, kind):
    from datasets import Dataset, DatasetDict

    rows = Dataset.from_list([{"prompt": "a"}, {"prompt": "b"}])
    rows.select([1]).save_to_disk(tmp_path / "one")
    DatasetDict({"train": rows, "extra": rows.select([0])}).save_to_disk(tmp_path / "several")
    read = lambda **more: [p.prompt for p in load_prompts([SourceConfig(type=kind, **more)], tmp_path)]  # noqa: E731
    assert read(path="one") == ["b"]
    assert read(path="several") == ["a", "b"]
    assert read(path="several", split="extra") == ["a"]
    with pytest.raises(InputError, match=r"field 'split': has no split 'test'. It has: train, extra"):
        read(path="several", split="test")


def test_a_local_data_set_folder_starts_from_the_project_and_has_splits(tmp_path):
    (tmp_path / "set/data").mkdir(parents=True)
    for split in ("train", "test"):
        rows = pa.table({"prompt": [split]})
        pq.write_table(rows, tmp_path / f"set/data/{split}-00000-of-00001.parquet")
    read = lambda split: [  # noqa: E731
        p.prompt for p in load_prompts([SourceConfig(path="set", type="datasets", split=split)], tmp_path)
    ]
    assert (read("train"), read("test")) == (["train"], ["test"])
    with pytest.raises(InputError, match="has no split 'dev'"):
        read("dev")
    with pytest.raises(InputError, match=r"\./gone: no such folder"):
        list(load_prompts([SourceConfig(path="./gone", type="datasets")], tmp_path))


@pytest.mark.parametrize(
    ("name", "content", "prompts"),
    [
        ("a.json", '{"prompt": "a"}{"prompt": "b"}', ["a", "b"]),
        ("a.jsonl", '{"prompt": "a"},\n{"prompt": "b"},\n', ["a", "b"]),
        ("a.jsonl", '{"prompt": "a"}\r{"prompt": "b"}\r', ["a", "b"]),
        ("a.csv", "sep=;\nprompt;x\na;1\n", ["a"]),
        ("a.csv", "\nx, prompt\n1,a\n", ["a"]),
        ("a.csv", '"x\ny;z;",prompt\n1,a\n', ["a"]),
    ],
)
def test_rows_are_read_however_they_are_parted(tmp_path, name, content, prompts):
    (tmp_path / name).write_bytes(content.encode())
    assert [one.prompt for one in load_prompts([SourceConfig(path=name)], tmp_path)] == prompts


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'[{"prompt": "a"}]\n[{"prompt": "b"}]', "row 1: its array of rows ends here, but the file goes on"),
        (b"\x04\x22\x4d\x18xxxx", "is packed with lz4"),
        (gzip.compress(gzip.compress(b"{}", mtime=0), mtime=0), r"is packed twice \(gzip\)"),
        ('{"prompt": "a"}'.encode("utf-32"), "is UTF-32"),
        ('{"prompt": "a"}'.encode("utf-16-le"), "begins with null bytes"),
        (b"version https://git-lfs.github.com/spec/v1", "is a pointer of Git LFS"),
    ],
)
def test_what_a_file_is_instead_is_said(tmp_path, content, words):
    (tmp_path / "a.jsonl").write_bytes(content)
    with pytest.raises(InputError, match=words):
        list(load_prompts([SourceConfig(path="a.jsonl")], tmp_path))


def test_an_empty_shard_among_others_is_passed_over_and_said(tmp_path, caplog):
    (tmp_path / "d").mkdir()
    (tmp_path / "d/a.jsonl").write_text('{"prompt": "a"}\n')
    (tmp_path / "d/b.jsonl").write_text("")
    assert [one.prompt for one in load_prompts([SourceConfig(path="d")], tmp_path)] == ["a"]
    assert "d: 1 of 2 files hold no rows: d/b.jsonl" in caplog.text
    (tmp_path / "d/a.jsonl").write_text("")
    with pytest.raises(InputError, match="whose 2 files hold no rows"):
        list(load_prompts([SourceConfig(path="d")], tmp_path))


def test_null_is_no_word_of_a_prompt_and_a_time_zone_that_is_not_known_is_named(tmp_path):
    with pytest.raises(InputError, match=r"a value is null; where it may be, write \{\{ field or '' \}\}"):
        one(tmp_path, {"q": None}, template="Q: {{ q }}")
    table(tmp_path, at=pa.array([1], pa.timestamp("s", "Mars/Phobos")))
    with pytest.raises(InputError, match=r"row 1, field 'at': is a timestamp\[.*Mars/Phobos\] that cannot be read"):
        list(load_prompts([SourceConfig(path="t.parquet")], tmp_path))


def test_what_follows_the_user_s_last_message_may_be_anything(tmp_path):
    calls = {"role": "assistant", "content": None, "tool_calls": [{}]}
    assert one(tmp_path, {"m": [CHAT[1], calls, {"role": "tool", "content": "5"}]}, prompt_field="m").prompt == "2 ?"
    with pytest.raises(InputError, match=r"'m\[1\]': calls a tool"):
        one(tmp_path, {"m": [CHAT[1], calls, CHAT[1]]}, prompt_field="m")
