"""`retort doctor --remote`: what a store can do is found out by doing it, and nothing is left behind."""

import json

import pytest
from s3fs import S3FileSystem
from typer.testing import CliRunner

from retort.cli.app import app
from retort.run.store_checks import examine_store
from tests.s3_server import S3Server

REMOTE = "s3://bucket/store"
RULE = "<Rule><ID>{name}</ID><Status>Enabled</Status><Filter><Prefix>{prefix}</Prefix></Filter>{what}</Rule>"
EXPIRES = "<Expiration><Days>30</Days></Expiration>"
ABORTS = "<AbortIncompleteMultipartUpload><DaysAfterInitiation>7</DaysAfterInitiation></AbortIncompleteMultipartUpload>"


@pytest.fixture
def server(monkeypatch):
    for name, value in {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "very-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
    }.items():
        monkeypatch.setenv(name, value)
    S3FileSystem.clear_instance_cache()
    with S3Server() as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
        yield running


def found(remote=REMOTE):
    return {one.name: one for one in examine_store(remote)}


def test_a_store_that_does_everything(server):
    checks = found()
    assert [one.name for one in checks.values() if one.status != "OK"] == []
    assert list(checks) == [
        *("credentials", "reach", "write and read", "verified", "deleted", "multipart"),
        *("conditional writes", "clock", "versioning", "lifecycle"),
    ]
    assert checks["credentials"].found == f"from env, for {server.url}"
    assert server.objects == {}
    assert server.parts == {}


def test_a_store_that_compares_nothing_is_told_from_one_that_does(server):
    server.is_modern = False
    checks = found()
    assert (checks["verified"].status, checks["verified"].found) == ("optional", "a damaged upload is taken")
    assert checks["conditional writes"].status == "optional"
    assert server.objects == {}


@pytest.mark.parametrize(("clock_s", "status"), [(0, "OK"), (-120, "optional"), (3600, "missing")])
def test_clocks_that_are_apart_are_said_before_the_store_refuses(server, clock_s, status):
    server.clock_s = clock_s
    assert found()["clock"].status == status


def test_old_versions_are_said(server):
    server.versioning = "Enabled"
    assert found()["versioning"].status == "optional"


@pytest.mark.parametrize(
    ("prefix", "what", "status"),
    [
        ("", EXPIRES, "missing"),
        ("store/", EXPIRES, "missing"),
        ("store/files/", EXPIRES, "missing"),
        ("other/", EXPIRES, "optional"),  # and parts of broken uploads stay for ever
        ("store", ABORTS, "OK"),
    ],
)
def test_a_rule_that_would_remove_what_runs_refer_to_is_found(server, prefix, what, status):
    server.lifecycle = RULE.format(name="old", prefix=prefix, what=what)
    assert found()["lifecycle"].status == status


def test_a_store_without_rules_is_told_what_to_add(server):
    server.lifecycle = ""
    assert "aborts incomplete multipart uploads" in found()["lifecycle"].remedy


@pytest.mark.parametrize("fault", ["403", "500", "reset"])
def test_a_bucket_that_cannot_be_reached_is_said_once(server, fault):
    server.fault = lambda *_: fault
    assert [(one.name, one.status) for one in examine_store(REMOTE)][1:] == [("reach", "missing")]


def test_a_store_that_gives_back_something_else_is_refused(server):
    server.fault = lambda method, key: "damage" if method == "GET" and "checks" in key else ""
    assert found()["write and read"].status == "missing"


def test_without_credentials_nothing_is_tried(server, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert [(one.name, one.status) for one in examine_store(REMOTE)] == [("credentials", "missing")]


def test_a_folder_is_a_store_too(tmp_path):
    assert found(str(tmp_path))["write and read"].status == "OK"
    assert list(tmp_path.glob("checks/*")) == []


def test_the_verb_prints_no_key_and_exits_with_69_where_something_is_missing(server):
    shown = CliRunner().invoke(app, ["doctor", "--remote", REMOTE, "--json"])
    assert shown.exit_code == 0, shown.output
    assert json.loads(shown.stdout)["ready"] is True
    assert "very-secret" not in shown.output
    server.clock_s = 3600
    assert CliRunner().invoke(app, ["doctor", "--remote", REMOTE]).exit_code == 69
