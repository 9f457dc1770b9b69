"""Tables: checked against their schema on both sides, in order, and the same rows give the same bytes."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from retort.errors import DO_NOT_RETRY, InputError, StorageError
from retort.io import tables
from retort.io.tables import PROMPTS, VOTES, read_table, read_tables, write_table

SCHEMAS = [name for name in dir(tables) if isinstance(getattr(tables, name), pa.Schema)]


def prompt(number: int, **changes):
    plain = {"prompt_id": f"p{number}", "prompt": f"{number} ?", "answer": None, "source": "x", "row": number}
    return plain | changes


def vote(**changes):
    plain = {"prompt_id": "p", "label": None, "votes": 0, "total": 4, "share": 0.25, "margin": 0.0, "abstained": True}
    return plain | {"confidence": None, "answer": None, "correct": None} | changes


def test_rows_come_back_as_they_were_and_in_their_order(tmp_path):
    rows = [prompt(3), prompt(1, answer="7", prompt="zwölf\n\u2028?"), prompt(2)]
    write_table(tmp_path / "t.parquet", rows, PROMPTS)
    assert read_table(tmp_path / "t.parquet", PROMPTS) == rows
    write_table(tmp_path / "v.parquet", [vote()], VOTES)
    assert read_table(tmp_path / "v.parquet", VOTES) == [vote()]


def test_the_same_rows_give_the_same_bytes(tmp_path):
    rows = [prompt(number) for number in range(100)]
    for name in ("a", "b"):
        write_table(tmp_path / name, [dict(sorted(row.items(), reverse=name == "b")) for row in rows], PROMPTS)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_column_can_be_read_alone_and_an_empty_table_is_one(tmp_path):
    write_table(tmp_path / "t", [prompt(1), prompt(2)], PROMPTS)
    assert read_table(tmp_path / "t", PROMPTS, columns=["row"]) == [{"row": 1}, {"row": 2}]
    write_table(tmp_path / "empty", [], PROMPTS)
    assert read_table(tmp_path / "empty", PROMPTS) == []


def test_shards_are_read_one_after_another(tmp_path):
    for shard in range(3):
        write_table(tmp_path / f"{shard}", [prompt(10 * shard), prompt(10 * shard + 1)], PROMPTS)
    found = read_tables([tmp_path / f"{shard}" for shard in (2, 0, 1)], PROMPTS)
    assert [row["row"] for row in found] == [20, 21, 0, 1, 10, 11]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"prompt_id": None}, "null in required field 'prompt_id'"),
        ({"row": "seven"}, "seven"),
        ({"prompt": 5}, "got a 'int' object"),
    ],
)
def test_a_row_that_does_not_fit_is_not_written(tmp_path, row, words):
    write_table(tmp_path / "t", [prompt(1)], PROMPTS)
    with pytest.raises(ValueError, match=rf"t: rows do not fit the schema: .*{words}"):
        write_table(tmp_path / "t", [prompt(1), prompt(2, **row)], PROMPTS)
    assert read_table(tmp_path / "t", PROMPTS) == [prompt(1)]
    assert [path.name for path in tmp_path.iterdir()] == ["t"]


def test_a_field_that_is_left_out_of_a_row_is_null_and_so_refused_where_it_is_required(tmp_path):
    row = prompt(1)
    del row["source"]
    with pytest.raises(ValueError, match="null in required field 'source'"):
        write_table(tmp_path / "t", [row], PROMPTS)


def refused(path) -> InputError:
    with pytest.raises(InputError) as caught:
        read_table(path, PROMPTS)
    assert caught.value.exit_code == DO_NOT_RETRY
    assert caught.value.file == str(path)
    assert "Run the stage that writes it again" in str(caught.value)
    return caught.value


def test_a_missing_file_is_named(tmp_path):
    assert "does not exist" in str(refused(tmp_path / "no.parquet"))


def test_a_file_that_is_no_table_is_named(tmp_path):
    (tmp_path / "t").write_text("prompt\nhello\n")
    assert "is not a Parquet table" in str(refused(tmp_path / "t"))


def test_a_missing_field_is_named(tmp_path):
    pq.write_table(pa.table({"prompt_id": ["a"], "prompt": ["b"]}), tmp_path / "t")
    found = refused(tmp_path / "t")
    assert (found.field, "is missing" in str(found)) == ("answer", True)


def test_a_field_of_another_type_is_named_with_both_types(tmp_path):
    write_table(tmp_path / "t", [prompt(1)], PROMPTS)
    table = pq.read_table(tmp_path / "t")
    place = table.column_names.index("row")
    pq.write_table(table.set_column(place, "row", table["row"].cast(pa.string())), tmp_path / "t")
    found = refused(tmp_path / "t")
    assert (found.field, "has type string, not int64" in str(found)) == ("row", True)


def test_a_null_in_a_required_field_is_named_with_its_row(tmp_path):
    rows = [prompt(1), prompt(2, prompt=None), prompt(3, prompt=None)]
    pq.write_table(
        pa.Table.from_pylist(rows, schema=pa.schema([f.with_nullable(True) for f in PROMPTS])), tmp_path / "t"
    )
    found = refused(tmp_path / "t")
    assert (found.field, found.row, "is null" in str(found)) == ("prompt", 2, True)


def test_a_table_whose_data_are_damaged_is_named(tmp_path):
    write_table(tmp_path / "t", [prompt(number) for number in range(500)], PROMPTS)
    data = bytearray((tmp_path / "t").read_bytes())
    data[4:2000] = bytes(1996)
    (tmp_path / "t").write_bytes(data)
    assert "cannot be read" in str(refused(tmp_path / "t"))


def test_a_table_that_does_not_fit_on_the_disk_leaves_the_one_before(tmp_path, limit_file_size):
    write_table(tmp_path / "t", [prompt(1)], PROMPTS)
    with limit_file_size(4000), pytest.raises(StorageError, match=r"t: could not be written.*Free space"):
        write_table(tmp_path / "t", [prompt(number, prompt=f"{number**9}") for number in range(5000)], PROMPTS)
    assert read_table(tmp_path / "t", PROMPTS) == [prompt(1)]
    assert [path.name for path in tmp_path.iterdir()] == ["t"]


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_field_of_every_schema_is_described(name):
    assert all((field.metadata or {}).get(b"description") for field in getattr(tables, name))
