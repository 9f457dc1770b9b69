import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from retort.errors import InputError
from retort.io.rows import read_records, text_field

ROWS = [{"prompt": "one"}, {"prompt": "zwei \u00fc"}]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()


def write(path, data):
    path.write_bytes(data)
    return path


def test_every_format_gives_the_same_rows_whatever_the_file_is_called(tmp_path):
    files = [
        write(tmp_path / "lines", LINES),
        write(tmp_path / "packed", gzip.compress(LINES)),
        write(tmp_path / "array", json.dumps(ROWS).encode()),
        write(tmp_path / "marked", b"\xef\xbb\xbf" + LINES),
        write(tmp_path / "indented", json.dumps(ROWS, indent=1).encode()),
        tmp_path / "table",
    ]
    pq.write_table(pa.Table.from_pylist(ROWS), files[-1])
    for file in files:
        assert list(read_records(file)) == [(1, ROWS[0]), (2, ROWS[1])], file.name


def test_blank_lines_are_skipped_but_counted(tmp_path):
    assert [row for row, _ in read_records(write(tmp_path / "f", b'\n{"a": 1}\n\n{"a": 2}'))] == [2, 4]


@pytest.mark.parametrize(
    ("data", "where", "problem"),
    [
        (b"", "", "holds no rows"),
        (b"\n \n", "", "holds no rows"),
        (LINES + b'{"prompt": "thr', "row 3", "not complete JSON"),
        (LINES + b'{"prompt": "\xff"}\n', "row 3", "not UTF-8"),
        (LINES + b"[1]\n", "row 3", "is a list, not a JSON object"),
        (b"[1, 2]", "row 1", "is a number, not a JSON object"),
        (b'[{"a": 1},', "", "not complete JSON"),
        (gzip.compress(LINES * 99)[:-20], "row", "gzip data is broken"),
        (gzip.compress(LINES)[:12] + b"????????", "row 1", "gzip data is broken"),
        (b"PAR1 nonsense", "row 1", "not a whole Parquet file"),
    ],
)
def test_broken_file_is_named_with_row_and_remedy(tmp_path, data, where, problem):
    file = write(tmp_path / "broken.jsonl", data)
    with pytest.raises(InputError, match=problem) as caught:
        list(read_records(file))
    assert str(file) in str(caught.value)
    assert where in str(caught.value)
    assert caught.value.remedy


def test_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.jsonl: does not exist"):
        list(read_records(tmp_path / "gone.jsonl"))


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        ({"other": "x"}, r"'prompt': is missing.*the row has: other"),
        ({"prompt": None}, "is null, not a string"),
        ({"prompt": 3}, "is a number, not a string"),
        ({"prompt": ["x"]}, "is a list, not a string"),
        ({"prompt": "  "}, "is empty"),
        ({"prompt": "\ud83d"}, "half a surrogate pair"),
    ],
)
def test_field_that_is_no_text_is_named_with_file_and_row(record, problem):
    with pytest.raises(InputError, match=problem) as caught:
        text_field(record, "prompt", file="f.jsonl", row=7)
    assert "f.jsonl, row 7, field 'prompt'" in str(caught.value)
