"""A kill while DVC writes leaves the old file or the new one, and notes that are half written hold up nobody."""

from __future__ import annotations

import logging

import pytest
import yaml

from retort.errors import StorageError
from retort.run import dvc_adapter
from retort.run.dvc_files import drop_half_written_notes, written_whole
from retort.run.dvc_workspace import opened


def killed_while_writing(file):
    """Write over `a: 1` in both ways that DVC has, stopped in the middle; what is there then, of each way."""
    from dvc.utils.serialize import _yaml, dump_yaml, modify_yaml

    class Killed(BaseException):
        pass

    def half(data, stream, **_):
        stream.write("stages:\n")
        raise Killed

    left = []
    whole, _yaml._dump = _yaml._dump, half

    def modify(file, data):
        with modify_yaml(file) as values:
            values.update(data)

    try:
        for write in (dump_yaml, modify):
            file.write_text("a: 1\n")
            with pytest.raises(Killed):
                write(file, {"b": 2})
            left.append(file.read_text())
    finally:
        _yaml._dump = whole
    return left


def test_a_lock_is_never_half_written(tmp_path):
    file = tmp_path / "dvc.lock"
    with written_whole():
        assert killed_while_writing(file) == ["a: 1\n"] * 2
    assert killed_while_writing(file) == ["stages:\n"] * 2  # DVC alone
    assert [one.name for one in tmp_path.iterdir()] == ["dvc.lock"]


def test_a_workspace_is_opened_so_and_the_new_lock_takes_the_old_ones_place(tmp_path):
    from dvc.utils.serialize import modify_yaml

    dvc_adapter.init(tmp_path, remote=str(tmp_path / "remote"))
    file = tmp_path / "dvc.lock"
    with opened(tmp_path):
        assert killed_while_writing(file) == ["a: 1\n"] * 2
        old = file.open()
        with modify_yaml(file) as data:
            data["b"] = 2
    assert old.read() == "a: 1\n"  # whoever reads it meanwhile has one or the other
    assert file.read_text() == "a: 1\nb: 2\n"


def test_what_is_written_whole_is_what_dvc_writes(tmp_path):
    from dvc.utils.serialize import dump_yaml, modify_yaml

    values = {"schema": "2.0", "stages": {"a": {"cmd": "ü", "n": 1e-5}}}
    dump_yaml(tmp_path / "plain", values)
    with written_whole():
        dump_yaml(tmp_path / "whole", values)
        with modify_yaml(tmp_path / "new") as data:
            data.update(values)
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "plain").read_bytes() == (tmp_path / "new").read_bytes()
    assert yaml.safe_load((tmp_path / "whole").read_text())["stages"]["a"]["cmd"] == "ü"


@pytest.mark.parametrize(("text", "stays"), [("", False), ('{"read": {', False), ('{"read": {}, "write": {}}', True)])
def test_a_note_that_is_half_written_is_dropped_and_said(tmp_path, caplog, text, stays):
    file = tmp_path / ".dvc/tmp/rwlock"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    with caplog.at_level(logging.WARNING):
        drop_half_written_notes(tmp_path)
    assert file.exists() == stays
    assert ("half written" in caplog.text) != stays
    drop_half_written_notes(tmp_path / "nothing")


@pytest.mark.parametrize("text", ["", "schema: '2.0'\nstages:\n  a:\n    cmd: [", "stages: {}\n"])
def test_a_damaged_lock_names_its_remedy(tmp_path, text):
    dvc_adapter.init(tmp_path, remote=str(tmp_path / "remote"))
    (tmp_path / "dvc.yaml").write_text("stages:\n  a:\n    cmd: echo\n")
    (tmp_path / "dvc.lock").write_text(text)
    with pytest.raises(StorageError, match=r"(?s)dvc\.lock.*Remove dvc\.lock, which is damaged or half written"):
        dvc_adapter.status(tmp_path)
    (tmp_path / "dvc.lock").unlink()
    dvc_adapter.status(tmp_path)
