"""Files: a reader sees the whole or what was there before, and contents have names."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from retort.errors import RETRY, StorageError
from retort.io.files import atomic_path, content_hash, explain_writes, write_json, write_text
from retort.modeling.loading import save_model

FULL = Path("/dev/full")


def names(folder: Path) -> list[str]:
    return sorted(item.name for item in folder.iterdir())


def test_a_file_is_replaced_when_it_is_whole_and_folders_above_are_made(tmp_path):
    target = tmp_path / "a/b/c.txt"
    write_text(target, "old")
    with atomic_path(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert names(target.parent) == ["c.txt"]


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    target = tmp_path / "model"
    for contents in (["old-1", "old-2"], ["new"]):
        with atomic_path(target) as temporary:
            temporary.mkdir()
            for name in contents:
                (temporary / name).write_text(name)
    assert names(target) == ["new"]
    assert names(tmp_path) == ["model"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_an_exception_inside_passes_through_leaves_nothing_and_keeps_the_old(tmp_path, error, kind):
    target = tmp_path / "it"
    write_text(target / "part" if kind == "folder" else target, "old")

    def fail():
        with atomic_path(target) as temporary:
            write_text(temporary / "part" if kind == "folder" else temporary, "half")
            raise error

    with pytest.raises(error):
        fail()
    assert names(tmp_path) == ["it"]
    assert (target / "part" if kind == "folder" else target).read_text() == "old"


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_a_storage_error_that_may_be_tried_again(tmp_path):
    target = tmp_path / "it.txt"
    write_text(target, "old")

    def fill():
        with atomic_path(target) as temporary:
            temporary.symlink_to(FULL)
            temporary.write_text("new")

    with pytest.raises(StorageError) as caught:
        fill()
    assert str(caught.value) == (
        f"{target}: could not be written (No space left on device). Free space or fix permissions there, then run the "
        "command again; what was there before is unchanged."
    )
    assert caught.value.exit_code == RETRY
    assert caught.value.__cause__.errno == errno.ENOSPC
    assert (names(tmp_path), target.read_text()) == (["it.txt"], "old")


def test_a_text_that_the_system_cuts_off_leaves_the_old_one(tmp_path, limit_file_size):
    target = tmp_path / "it.json"
    write_json(target, {"old": 1})
    with limit_file_size(1000), pytest.raises(StorageError, match=r"it\.json: could not be written \(File too large\)"):
        write_text(target, "x" * 5000)
    assert (names(tmp_path), json.loads(target.read_text())) == (["it.json"], {"old": 1})


def test_weights_that_the_system_cuts_off_leave_the_old_model(tmp_path, limit_file_size, tiny_model, tiny_tokenizer):
    target = tmp_path / "model"
    save_model(tiny_model(), tiny_tokenizer, target)
    before = content_hash(target)
    with limit_file_size(20_000), pytest.raises(StorageError, match=r"model: could not be written .*Free space"):
        save_model(tiny_model(seed=1), tiny_tokenizer, target)
    assert names(tmp_path) == ["model"]
    assert content_hash(target) == before


def test_a_place_that_is_no_folder_is_a_storage_error(tmp_path):
    write_text(tmp_path / "file", "x")
    with pytest.raises(StorageError, match=r"file/inside: could not be written"):
        write_text(tmp_path / "file/inside", "y")
    assert names(tmp_path) == ["file"]


def test_what_a_killed_process_of_the_same_number_left_is_no_obstacle(tmp_path):
    # Every pod's first process has the same number.
    left = tmp_path / f".model.{os.getpid()}.tmp"
    write_text(left / "half", "x")
    with atomic_path(tmp_path / "model") as temporary:
        temporary.mkdir()
        (temporary / "whole").write_text("y")
    assert names(tmp_path) == ["model"]
    assert names(tmp_path / "model") == ["whole"]


def test_a_process_killed_while_writing_leaves_the_old_file(tmp_path):
    target = tmp_path / "it.txt"
    write_text(target, "old")
    code = (
        "import os, signal, sys; from pathlib import Path; from retort.io.files import atomic_path\n"
        "with atomic_path(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, target], check=False)
    assert target.read_text() == "old"


def test_json_has_the_same_bytes_whatever_the_order_of_keys(tmp_path):
    write_json(tmp_path / "a.json", {"b": 1, "a": {"d": "ü", "c": None}})
    write_json(tmp_path / "b.json", {"a": {"c": None, "d": "ü"}, "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == (
        '{\n  "a": {\n    "c": null,\n    "d": "ü"\n  },\n  "b": 1\n}\n'
    )


def test_json_that_no_other_program_could_read_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert not (tmp_path / "a.json").exists()


def test_a_content_hash_is_sha256_for_files_and_depends_on_names_and_contents_of_folders(tmp_path):
    write_text(tmp_path / "f/a", "abc")
    # FIPS 180-2, appendix B.1.
    assert content_hash(tmp_path / "f/a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    first = content_hash(tmp_path / "f")
    shutil.copytree(tmp_path / "f", tmp_path / "g")
    assert content_hash(tmp_path / "g") == first
    (tmp_path / "g/a").rename(tmp_path / "g/b")
    assert content_hash(tmp_path / "g") != first
    write_text(tmp_path / "f/a", "abd")
    assert content_hash(tmp_path / "f") != first


def test_a_full_disk_is_explained_whichever_library_finds_out(tmp_path, limit_file_size):
    import sqlite3

    def text():
        (tmp_path / "a").write_text("x" * 5000)

    def torch_file():
        torch.save(torch.zeros(5000), tmp_path / "b")

    def database():
        with sqlite3.connect(tmp_path / "c") as connection:
            connection.execute("create table t (x)")

    for write in (text, torch_file, database):
        with (
            pytest.raises(StorageError, match=r"could not be written .*Free space.*; nothing is lost\."),
            limit_file_size(1000),
            explain_writes(tmp_path, kept="nothing is lost"),
        ):
            write()


@pytest.mark.parametrize("error", [FileNotFoundError(2, "no"), OSError("no tokenizer"), RuntimeError("out of memory")])
def test_other_errors_are_not_taken_for_a_full_disk(tmp_path, error):
    with pytest.raises(type(error), match=r"no|memory"), explain_writes(tmp_path, kept="x"):
        raise error


def test_a_mistake_inside_is_not_taken_for_a_full_disk(tmp_path):
    with pytest.raises(RuntimeError, match="inconsistent tensor size"), atomic_path(tmp_path / "it"):
        torch.zeros(2) @ torch.zeros(3)
