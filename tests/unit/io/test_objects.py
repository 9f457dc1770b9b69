"""Objects beside DVC's contents, in a folder; tests/cluster does the same on a real S3 server."""

import os

import pytest

from retort.errors import InputError, StorageError
from retort.io.objects import Objects
from retort.pod.run_records import Records


def test_what_is_written_can_be_read_listed_and_removed(tmp_path):
    objects = Objects.of(str(tmp_path), "runs/r")
    objects.write_json("a/one.json", {"b": 1})
    objects.write("two", b"2")
    assert (objects.read_json("a/one.json"), objects.read("two")) == ({"b": 1}, b"2")
    assert objects.names() == ["a/one.json", "two"]
    assert objects.names("a") == ["a/one.json"]
    objects.remove("two", "never there")
    assert objects.names() == ["a/one.json"]
    assert objects.read("two") is None
    assert Objects.of(str(tmp_path), "elsewhere").names() == []


def test_an_object_that_is_not_there_and_a_store_that_refuses_are_explained(tmp_path):
    objects = Objects.of(str(tmp_path), "x")
    with pytest.raises(StorageError, match="is not in the object store"):
        objects.download("gone", tmp_path / "here")
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="AWS_ENDPOINT_URL"):
        Objects.of(str(tmp_path / "file"), "x").write("y", b"")
    with pytest.raises(StorageError):
        Objects.of("nonsense://bucket", "x")


def test_credentials_given_are_not_those_of_the_environment(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "mine")
    given = {"AWS_ACCESS_KEY_ID": "theirs", "AWS_SECRET_ACCESS_KEY": "s", "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    files = Objects.of("s3://bucket/store", "x", credentials=given).files
    assert (files.key, files.secret) == ("theirs", "s")
    assert files.client_kwargs["endpoint_url"] == "http://127.0.0.1:9"
    assert os.environ["AWS_ACCESS_KEY_ID"] == "mine"


def test_a_run_without_a_lock_says_where_to_look(tmp_path):
    with pytest.raises(InputError, match="retort status RUN"):
        Records.of(str(tmp_path), "r").lock()
