import bz2
import gzip
import io
import json
import lzma
import tarfile
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from retort.errors import InputError
from retort.io.rows import read_records, shards_of, text_field

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


def zstd(data):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


def old_lzma(data):
    return lzma.compress(data, format=lzma.FORMAT_ALONE)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, old_lzma, zstd])
@pytest.mark.parametrize("text", [LINES, json.dumps(ROWS, indent=1).encode()])
def test_packed_files_are_read_whatever_they_are_packed_with(tmp_path, pack, text):
    assert [row for _, row in read_records(write(tmp_path / "packed", pack(text)))] == ROWS
    with pytest.raises(InputError, match=r"the \w+ data is broken"):
        list(read_records(write(tmp_path / "cut", pack(text * 99)[:-20])))


def test_a_zip_of_one_file_is_read_and_of_two_refused(tmp_path):
    for names in (["a.jsonl"], ["a.jsonl", "b.jsonl"]):
        with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
            for name in names:
                archive.writestr(name, LINES)
        if len(names) == 1:
            assert [row for _, row in read_records(tmp_path / "z.zip")] == ROWS
    with pytest.raises(InputError, match="holds 2 files, not one"):
        list(read_records(tmp_path / "z.zip"))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", 'prompt,n\none,1\n\n"zwei, \u00fc\nnext",\n'),
        ("t.csv", '\ufeffprompt;n\r\none;1\r\n"zwei, \u00fc\nnext";\r\n'),
        ("t.tsv", 'prompt\tn\none\t1\n"zwei, \u00fc\nnext"\t\n'),
        ("t.csv.gz", 'prompt,n\none,1\n"zwei, \u00fc\nnext",\n'),
    ],
)
def test_tables_of_text_are_read_with_quotes_line_breaks_and_empty_fields(tmp_path, name, text):
    data = gzip.compress(text.encode()) if name.endswith(".gz") else text.encode()
    rows = list(read_records(write(tmp_path / name, data)))
    assert rows == [(1, {"prompt": "one", "n": "1"}), (2, {"prompt": "zwei, \u00fc\nnext", "n": None})]


@pytest.mark.parametrize(
    ("suffix", "pack"),
    [
        (".gzip", gzip.compress),
        (".GZ", gzip.compress),
        (".bz", bz2.compress),
        (".xz", lzma.compress),
        (".lzma", old_lzma),
        (".zst", zstd),
        (".zip", lambda data: zipped({"notes": data})),
    ],
)
def test_a_packed_table_of_text_is_read_by_the_suffix_before_that_of_the_packing(tmp_path, suffix, pack):
    file = write(tmp_path / f"t.csv{suffix}", pack(b"prompt,n\none,1\n"))
    assert list(read_records(file)) == [(1, {"prompt": "one", "n": "1"})]
    assert shards_of(tmp_path) == [file]


def test_a_table_in_an_archive_is_read_by_its_own_name(tmp_path):
    file = write(tmp_path / "export.zip", zipped({"t.tsv": b"prompt\tn\none\t1\n"}))
    assert list(read_records(file)) == [(1, {"prompt": "one", "n": "1"})]


def zipped(members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def tarred(mode):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        member = tarfile.TarInfo("t.csv")
        member.size = len(LINES)
        archive.addfile(member, io.BytesIO(LINES))
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("t.csv.Z", b"\x1f\x9d\x90i\xc8\x90\x01\x03", r"packed with compress \(\.Z\)"),
        ("t.csv.lz", b"LZIP\x01\x0c\0\0", "packed with lzip"),
        ("t.csv.lz4", b"\x04\x22\x4d\x18@@\xc0", "packed with lz4"),
        ("t.csv.lzo", b"\x89LZO\0\r\n\x1a\n", "packed with lzop"),
        ("t.csv.sz", b"\xff\x06\0\0sNaPpY", "packed with Snappy"),
        ("t.csv.snappy", pa.compress(LINES, "snappy", asbytes=True), "packed with Snappy"),
        ("t.jsonl.br", pa.compress(LINES, "brotli", asbytes=True), "packed with Brotli"),
        ("t.csv.7z", b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
        ("t.csv.rar", b"Rar!\x1a\x07\x01\0", "a RAR archive"),
        ("t.csv.tar", tarred("w"), "a tar archive"),
        ("t.csv.tar.gz", tarred("w:gz"), "a tar archive"),
        ("t.txz", tarred("w:xz"), "a tar archive"),
        ("t.zip", zipped({}), "a zip archive that holds no file"),
        ("t.zip", zipped({"a.zip": zipped({"t.csv": b""})}), "a zip archive in another file"),
        ("t.xlsx", zipped({"[Content_Types].xml": b"", "xl/workbook.xml": b""}), "an Excel workbook"),
        ("t.ods", zipped({"mimetype": b"", "content.xml": b""}), "an OpenDocument file"),
    ],
)
def test_a_packing_that_is_not_read_is_named(tmp_path, name, data, kind):
    with pytest.raises(InputError, match=f"is {kind}") as caught:
        list(read_records(write(tmp_path / name, data)))
    assert caught.value.remedy.startswith(("Unpack it", "Save", "Give"))


def test_rows_that_are_not_packed_are_read_whatever_the_name_says(tmp_path):
    assert [row for _, row in read_records(write(tmp_path / "rows.br", LINES))] == ROWS


def test_a_long_field_of_a_table_is_read(tmp_path):
    long = "x" * 300_000
    assert list(read_records(write(tmp_path / "t.csv", f"p\n{long}\n".encode()))) == [(1, {"p": long})]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a,b\n1,2\n1,2,3\n", r"row 2: has 3 fields, but the header has 2"),
        ("a,a\n1,2\n", r"the header names 'a' more than once"),
        ('a,b\n1,2\n"x,2\n', r"row 2: is not a row of a table"),
        ("a,b\n", "holds no rows"),
    ],
)
def test_what_is_wrong_with_a_table_of_text_is_said(tmp_path, text, problem):
    with pytest.raises(InputError, match=problem):
        list(read_records(write(tmp_path / "t.csv", text.encode())))


@pytest.mark.parametrize("indent", [None, 2])
def test_an_object_around_rows_is_taken_off_and_a_row_with_a_list_is_not(tmp_path, indent):
    wrapped = {"version": 1, "data": ROWS, "splits": ["train"]}
    file = write(tmp_path / "w.json", json.dumps(wrapped, indent=indent).encode())
    assert list(read_records(file)) == [(1, ROWS[0]), (2, ROWS[1])]
    one = {"messages": [{"role": "user", "content": "hi"}]}
    assert [row for _, row in read_records(write(tmp_path / "o.json", json.dumps(one, indent=indent).encode()))] == [
        one
    ]


def test_objects_over_several_lines_are_read_one_after_another(tmp_path):
    text = "\n".join(json.dumps(row, indent=2) for row in ROWS)
    assert list(read_records(write(tmp_path / "f", text.encode()))) == [(1, ROWS[0]), (2, ROWS[1])]


def test_arrow_files_and_streams_are_read(tmp_path):
    table = pa.Table.from_pylist(ROWS)
    for name, make in (("file", pa.ipc.new_file), ("stream", pa.ipc.new_stream)):
        with pa.OSFile(str(tmp_path / name), "wb") as sink, make(sink, table.schema) as writer:
            writer.write_table(table)
        assert list(read_records(tmp_path / name)) == [(1, ROWS[0]), (2, ROWS[1])]


@pytest.mark.parametrize(
    ("name", "data", "problem", "untrue"),
    [
        (
            "f.txt",
            b"question,answer\nwhat?,4\n",
            r"row 1: is not complete JSON.*must be called \.csv or \.tsv",
            "cut off",
        ),
        ("f.jsonl", LINES + b"{'a': 1}\n" + LINES, r"row 3: is not complete JSON", "cut off"),
        ("f.jsonl", b'{"a": ' + b"9" * 5000 + b"}\n", r"row 1: has an integer of more digits.*in quotes", "cut off"),
        ("f.jsonl", LINES + b'{"a": ' + b"9" * 5000 + b"}\n", r"row 3: has an integer of more digits", "cut off"),
        ("f.jsonl", "{}".encode("utf-16"), "is UTF-16, not UTF-8", "JSON"),
        ("f.parquet.gz", gzip.compress(b"PAR1", mtime=0), r"is a packed \(gzip\) Parquet or Arrow file", "UTF-8"),
    ],
)
def test_no_message_says_what_is_not_so(tmp_path, name, data, problem, untrue):
    with pytest.raises(InputError, match=problem) as caught:
        list(read_records(write(tmp_path / name, data)))
    assert untrue not in str(caught.value)


def test_a_folder_is_no_missing_file(tmp_path):
    with pytest.raises(InputError, match="is a folder, not a file"):
        list(read_records(tmp_path))


def test_shards_of_a_folder_come_by_name_and_nothing_else_does(tmp_path):
    (tmp_path / "more").mkdir()
    for name in ("b.jsonl", "a.csv.gz", "more/c.parquet", "README.md", ".hidden.jsonl", "_SUCCESS"):
        write(tmp_path / name, b"")
    assert [file.relative_to(tmp_path).as_posix() for file in shards_of(tmp_path)] == [
        "a.csv.gz",
        "b.jsonl",
        "more/c.parquet",
    ]
    for name in ("train-00000-of-00001.parquet", "test.jsonl"):
        write(tmp_path / name, b"")
    with pytest.raises(InputError, match=r"several splits \(test, train\)"):
        shards_of(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="is a folder without files of rows"):
        shards_of(tmp_path / "empty")


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
        (gzip.compress(LINES * 99, mtime=0)[:-20], "row", "gzip data is broken"),
        (gzip.compress(LINES, mtime=0)[:12] + b"????????", "row 1", "gzip data is broken"),
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
