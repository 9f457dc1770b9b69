"""Two that do one task at one moment, as after a node that was only believed lost, or a pod and somebody's laptop."""

from __future__ import annotations

import subprocess
import sys

import pytest
from s3fs import S3FileSystem

from retort.pod import lock_fragments
from retort.pod.settings import settings
from retort.run import dvc_adapter
from retort.run.tasks import graph
from retort.run.workspace import create
from tests.faults.table import FULL
from tests.s3_server import S3Server, md5

REMOTE = "s3://bucket/store"
POD = """
import sys
from retort.pod import task
print(task.run(sys.argv[1], [sys.argv[2]]))
"""
LAPTOP = """
import json, sys
from pathlib import Path
from retort.pod import lock_fragments
from retort.run import dvc_adapter
root = Path(sys.argv[3])
entries = [out for one in lock_fragments.load(sys.argv[2], sys.argv[4]).values() for out in one["outs"]]
dvc_adapter.write_inputs(root, entries)
dvc_adapter.reproduce_one(root, "votes")
print(lock_fragments.save({"votes": dvc_adapter.read_lock(root)["votes"]}, sys.argv[4]))
"""
TIMES = 5 if FULL else 1


@pytest.mark.timeout(600)
@pytest.mark.parametrize("other", ["pod", "laptop"])
def test_two_that_do_one_task_at_once_agree_and_leave_whole_contents(toy, monkeypatch, row, other) -> None:
    counts = row(f"a pod and a {other} on one task", "both start, run and store at the same moment")
    for name, value in {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_DEFAULT_REGION": "x"}.items():
        monkeypatch.setenv(name, value)
    made = toy()
    S3FileSystem.clear_instance_cache()
    with S3Server() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        root = made.home / "runs/submit"
        create(root, made.config, home=made.home, remote=REMOTE, cache=root / "cache")
        (votes,) = graph(made.config, made.home).of_stage("votes")
        for path in votes.deps:
            file = root / path
            file = file if file.suffix else file / "train.parquet"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"what {path} says" * 100)
        upstream = lock_fragments.save(
            {str(n): {"outs": [one]} for n, one in enumerate(dvc_adapter.store(root, votes.deps).values())}, REMOTE
        )
        before = dict(server.objects)
        told = settings(made.config, graph(made.config, made.home).groups["votes"], {}, remote=REMOTE).to_json()
        for number in range(TIMES):
            server.objects = dict(before)
            laptop = made.home / f"runs/laptop-{number}"
            create(laptop, made.config, home=made.home, remote=REMOTE, cache=laptop / "cache")
            starts = [(POD,), (POD if other == "pod" else LAPTOP, str(laptop), REMOTE)]
            writers = [
                subprocess.Popen([sys.executable, "-c", code, told, upstream, *more], stdout=subprocess.PIPE, text=True)
                for code, *more in starts
            ]
            said = [one.communicate(timeout=300)[0].strip() for one in writers]
            counts.tried += 1
            assert [one.returncode for one in writers] == [0, 0]
            assert said[0] == said[1]
            contents = {
                key.partition("/files/md5/")[2].replace("/", ""): content
                for key, content in server.objects.items()
                if "/files/md5/" in key
            }
            assert all(md5(content) == oid.partition(".")[0] for oid, content in contents.items())
            lock = lock_fragments.load(said[0], REMOTE)
            assert {out["md5"] for out in lock["votes"]["outs"]} <= contents.keys()
            assert not [key for key in server.objects if "/state/" in key]
            counts.survived += 1
