"""Credentials that end while a stage runs and are replaced in their file: they are read again, the stage goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from s3fs import S3FileSystem

from tests.faults.table import FULL, Row
from tests.faults.test_store_faults import Trial, trial

__all__ = ["trial"]

REFUSALS = {
    "an expired token": (400, "ExpiredToken"),
    "an expired signature": (403, "RequestExpired"),
    "a key that was withdrawn": (403, "InvalidAccessKeyId"),
}
POINTS = 12 if FULL else 2
"""Requests of a pod, evenly over all, at which the credentials end."""


def write(file: Path, key: str) -> None:
    file.write_text(f"[default]\naws_access_key_id = {key}\naws_secret_access_key = s\naws_session_token = t-{key}\n")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("refusal", REFUSALS)
def test_credentials_that_are_replaced_in_their_file_while_a_stage_runs_are_read_again(
    trial: Trial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: Callable[[str, str], Row], refusal: str
) -> None:
    counts = row("between pod and store", f"{refusal}, renewed in its file while the stage runs")
    server, file = trial.server, tmp_path / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    server.refusal = REFUSALS[refusal]
    asked: list[str] = []

    def count(method: str, _key: str) -> str:
        asked.append(method)
        return ""

    server.fault = count
    write(file, "old")
    S3FileSystem.clear_instance_cache()
    trial.reset()
    assert trial.pod() == trial.right
    requests = len(asked)
    for point in range(POINTS):
        trial.reset()
        S3FileSystem.clear_instance_cache()
        write(file, "old")
        asked.clear()
        server.access_key = "old"
        ends = 1 + point * (requests - 1) // POINTS
        timers = []

        def end(method: str, key: str, ends: int = ends, timers: list[threading.Timer] = timers) -> str:
            count(method, key)
            if len(asked) == ends:
                server.access_key = "new"
                timers.append(threading.Timer(0.3, write, (file, "new")))
                timers[0].start()
            return ""

        server.fault = end
        made = trial.pod()
        timers[0].join()
        counts.tried += 1
        counts.lost += len(trial.lost())
        counts.wrong += made != trial.right or bool(trial.wrong())
        assert (counts.lost, counts.wrong) == (0, 0), f"ended at request {ends} of {requests}"
        counts.survived += 1
    server.access_key = None
