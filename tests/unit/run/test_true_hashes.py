"""Hashes that were read, never assumed."""

import hashlib
import os
from types import SimpleNamespace

import pytest

from retort.run import true_hashes
from retort.run.true_hashes import TrueHashes

LOCAL = SimpleNamespace(protocol="local")


def md5(text):
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def claim(value):
    return SimpleNamespace(name="md5", value=value)


@pytest.fixture
def reads(monkeypatch):
    """Paths of files that were read."""
    found, read = [], true_hashes.md5_of
    monkeypatch.setattr(true_hashes, "md5_of", lambda path: (found.append(path), read(path))[1])
    return found


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_text("right")
    return path


def rot(file):
    """Other bytes, same size and times."""
    status = file.stat()
    file.write_text("wrong")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_file_is_read_once_a_process(file, reads):
    hashes = TrueHashes(lambda info, value: (info, value))
    with hashes.strict():
        assert [hashes.of(str(file)) for _ in range(3)] == [md5("right")] * 3
    assert reads == [str(file)]
    assert hashes.bytes_read == len("right")


def test_what_dvc_assumes_does_not_count(file):
    hashes = TrueHashes(lambda info, value: (info, value))
    hashes.save_many([(str(file), claim(md5("something else")), None)], LOCAL)
    assert hashes.of(str(file)) == md5("right")


def test_a_copy_of_what_was_read_is_not_read_again(file, reads):
    hashes = TrueHashes(lambda info, value: (info, value))
    value = hashes.of(str(file))
    copy = file.with_name("copy")
    copy.write_text("right")
    hashes.save(str(copy), LOCAL, claim(value))
    assert hashes.of(str(copy)) == value
    assert reads == [str(file)]


def test_an_earlier_process_is_believed_but_not_where_it_matters(file, reads):
    kept = {}
    TrueHashes(lambda info, value: (info, value), kept=kept).of(str(file))
    rot(file)
    later = TrueHashes(lambda info, value: (info, value), kept=kept)
    assert later.of(str(file)) == md5("right")  # cheap, where only the next thing to do is decided
    with later.strict():
        assert later.of(str(file)) == md5("wrong")
    assert later.of(str(file)) == md5("wrong")
    assert reads == [str(file)] * 2


def test_a_changed_file_is_read_again(file):
    kept = {}
    hashes = TrueHashes(lambda info, value: (info, value), kept=kept)
    assert hashes.of(str(file)) == md5("right")
    file.write_text("other text")
    assert hashes.of(str(file)) == md5("other text")
    assert TrueHashes(lambda info, value: (info, value), kept=kept).of(str(file)) == md5("other text")
