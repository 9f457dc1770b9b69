"""`retort runs --cluster`: what Kubeflow knows of its runs, and their figures by content hash from the store."""

import hashlib
import json

import pytest

from retort.io.objects import Objects
from retort.pod.run_records import Records
from retort.run.record import who
from tests.kubeflow_server.cluster import STORE

SUMMARY = json.dumps({"accuracy": 0.75, "items": 20}).encode()


@pytest.fixture
def ended(cluster):
    """A run that has ended well, with a summary in the store."""
    run = cluster.submitted()
    digest = hashlib.md5(SUMMARY, usedforsecurity=False).hexdigest()
    Objects.of(STORE, "files/md5").write(f"{digest[:2]}/{digest[2:]}", SUMMARY)
    Records.of(STORE, run).keep_lock({"report": {"outs": [{"path": "metrics/summary.json", "md5": digest}]}})
    cluster.end(run)
    return run


def test_a_run_that_ended_well_is_listed_with_its_figures_and_who_submitted_it(cluster, ended):
    Records.of(STORE, ended).keep_submission(who(), "abc12")
    (one,) = cluster.json("runs", "--cluster")
    assert (one["name"], one["state"], one["who"], one["commit"]) == ("a", "succeeded", who(), "abc12")
    assert one["figures"] == {"accuracy": 0.75, "items": 20}
    assert one["place"].startswith("http")
    out, _ = cluster.retort("runs", "--cluster")
    assert "75.0 %" in out


def test_a_run_without_figures_is_listed_and_a_damaged_record_is_said(cluster, ended):
    digest = hashlib.md5(SUMMARY, usedforsecurity=False).hexdigest()
    Objects.of(STORE, "files/md5").write(f"{digest[:2]}/{digest[2:]}", b'{"accuracy": 1.0}')
    (one,) = cluster.json("runs", "--cluster")
    assert one["figures"] == {}
    assert "metrics/summary.json: is damaged in the store" in one["problem"]


def test_without_a_cluster_asked_for_none_is_asked(cluster, ended):
    assert cluster.json("runs") == []
