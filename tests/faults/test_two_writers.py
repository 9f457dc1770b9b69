"""Two pods on one task at one moment, as after a node that was only believed lost: both right, and so is the store."""

from __future__ import annotations

import subprocess
import sys

from s3fs import S3FileSystem

from retort.pod import lock_fragments
from retort.pod.settings import settings
from retort.run import dvc_adapter
from retort.run.tasks import graph
from retort.run.workspace import create
from tests.faults.table import FULL
from tests.s3_server import S3Server, md5

REMOTE = "s3://bucket/store"
VOTES = ("outputs/prompts", "outputs/teacher_responses/shard-0.parquet", "outputs/teacher_responses/shard-1.parquet")
POD = "import sys; from retort.pod import task; print(task.run(sys.argv[1], [sys.argv[2]]))"
TIMES = 5 if FULL else 1


def test_two_pods_that_do_one_task_at_once_agree_and_leave_whole_contents(toy, monkeypatch, row) -> None:
    counts = row("two pods on one task", "both start, run and store at the same moment")
    for name, value in {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_DEFAULT_REGION": "x"}.items():
        monkeypatch.setenv(name, value)
    made = toy()
    S3FileSystem.clear_instance_cache()
    with S3Server() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        root = made.home / "runs/submit"
        create(root, made.config, home=made.home, remote=REMOTE, cache=root / "cache")
        for path in VOTES:
            file = root / path
            file = file if file.suffix else file / "train.parquet"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"what {path} says" * 100)
        upstream = lock_fragments.save(
            {str(n): {"outs": [one]} for n, one in enumerate(dvc_adapter.store(root, VOTES).values())}, REMOTE
        )
        before = dict(server.objects)
        told = settings(made.config, graph(made.config, made.home).groups["votes"], {}, remote=REMOTE).to_json()
        for _ in range(TIMES):
            server.objects = dict(before)
            pods = [
                subprocess.Popen([sys.executable, "-c", POD, told, upstream], stdout=subprocess.PIPE, text=True)
                for _ in range(2)
            ]
            said = [pod.communicate(timeout=200)[0].strip() for pod in pods]
            counts.tried += 1
            assert [pod.returncode for pod in pods] == [0, 0]
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
