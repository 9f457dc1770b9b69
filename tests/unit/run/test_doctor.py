"""What the doctor finds, and its exit code."""

from __future__ import annotations

import json
import socket

import pytest
from typer.testing import CliRunner

from retort.cli.app import app
from retort.run import doctor


def find(checks, name):
    return next(check for check in checks if check.name == name)


@pytest.fixture
def offline(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def test_a_machine_that_runs_these_tests_is_ready_and_the_report_is_one_json_object(offline, tmp_path):
    result = CliRunner().invoke(app, ["doctor", "--json", "--workspace", str(tmp_path)])
    found = json.loads(result.stdout)
    assert (result.exit_code, found["ready"]) == (0, True)
    assert {check["status"] for check in found["checks"]} <= {"OK", "optional"}
    assert next(check for check in found["checks"] if check["name"] == "kfp")["status"] == "OK"


def test_a_missing_requirement_is_named_with_its_remedy_and_the_exit_code_is_69(offline, tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "_DISK_GIB", 10**9)
    result = CliRunner().invoke(app, ["doctor", "--workspace", str(tmp_path)])
    assert result.exit_code == 69
    assert "missing   disk" in result.stdout
    assert "-> Free 1000000000 GiB" in result.stdout
    assert result.stdout.endswith("Missing: disk.\n")


def test_a_package_that_is_not_installed_or_too_old_is_missing(monkeypatch):
    monkeypatch.setattr(doctor.metadata, "requires", lambda _: ["no-such-package>=1", "pytest>=999"])
    assert doctor._package("no-such-package").status == "missing"
    check = doctor._package("pytest")
    assert (check.status, check.remedy) == ("missing", "make install")
    assert ">=999 is needed" in check.found


def test_packages_that_differ_from_the_lock_are_named(tmp_path):
    (tmp_path / "requirements.txt").write_text(
        "pytest==0.0.1 \\\n    --hash=sha256:00\nno-such==1 \\\n    --hash=sha256:00\n"
    )
    check = doctor._lock(tmp_path)
    assert check.status == "optional"
    assert check.found.startswith("2 of 2 differ: pytest ")
    assert "no-such not installed (lock 1)" in check.found


def test_a_refused_configuration_is_missing_with_what_is_wrong(tmp_path):
    (tmp_path / "params.yaml").write_text("sftt: {}\n")
    check = doctor._configuration(tmp_path)
    assert check.status == "missing"
    assert "did you mean 'sft'" in check.found


def remote(tmp_path, url, more=""):
    (tmp_path / ".dvc").mkdir(exist_ok=True)
    text = f"[core]\n    remote = store\n['remote \"store\"']\n    url = {url}\n{more}"
    (tmp_path / ".dvc/config").write_text(text)
    return doctor._remote(tmp_path)


def test_a_remote_folder_that_can_be_made_is_reachable(tmp_path):
    assert remote(tmp_path, "../store").status == "OK"


def test_without_a_remote_it_says_how_to_add_one(tmp_path):
    check = doctor._remote(tmp_path)
    assert (check.status, "dvc remote add" in check.remedy) == ("optional", True)


@pytest.mark.parametrize("scheme", ["s3", "http"])
def test_a_remote_that_nobody_serves_is_missing(tmp_path, scheme, monkeypatch):
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{one.getsockname()[1]}"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    url, more = ("s3://bucket/path", f"    endpointurl = {address}\n") if scheme == "s3" else (address, "")
    check = remote(tmp_path, url, more)
    assert check.status == "missing"
    assert url in check.found
