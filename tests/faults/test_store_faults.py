"""A proxy between pods and an S3 server makes faults: nothing is lost, nothing ends well with another result.

One trial: a pod runs stage `votes` on what earlier stages left in the store, and the run's lock is recorded, while
every so manieth request goes wrong. Then the store is looked at without the proxy.
"""

from __future__ import annotations

import random

import pytest
from s3fs import S3FileSystem

from retort.errors import DO_NOT_RETRY, RETRY
from retort.io import outages
from retort.pod import lock_fragments, task
from retort.pod.run_records import Records
from retort.pod.settings import settings
from retort.run import dvc_adapter
from retort.run.tasks import graph
from retort.run.workspace import create
from tests.faults.proxy import KINDS, FaultProxy, applies
from tests.faults.table import FULL
from tests.s3_server import S3Server, md5

REMOTE = "s3://bucket/store"
LEAST = 20 if FULL else 2
"""Faults of each kind."""
EVERY = {"often": 3, "seldom": 11}
"""One request of so many goes wrong."""


class Trial:
    """A store in which stage `votes` can run, and pods that reach it through the proxy or not."""

    def __init__(self, toy, server, proxy, monkeypatch):
        self.server, self.proxy, self.patch, self.toy = server, proxy, monkeypatch, toy
        self.direct()
        root = toy.home / "runs/submit"
        create(root, toy.config, home=toy.home, remote=REMOTE, cache=root / "cache")
        (votes,) = graph(toy.config, toy.home).of_stage("votes")
        for path in votes.deps:
            file = root / path
            file = file if file.suffix else file / "train.parquet"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"what {path} says" * 100)
        entries = dvc_adapter.store(root, votes.deps)
        made = {path.replace("/", "-"): {"outs": [entry]} for path, entry in entries.items()}
        self.upstream = lock_fragments.save(made, REMOTE)
        self.told = settings(toy.config, graph(toy.config, toy.home).groups["votes"], {}, remote=REMOTE).to_json()
        self.before = dict(server.objects)
        self.right = self.pod()
        self.made = dict(server.objects)

    def direct(self):
        """Pods reach the store itself."""
        self._reach(self.server.url)

    def through(self):
        """Pods reach the store through the proxy."""
        self._reach(self.proxy.url)

    def _reach(self, url):
        S3FileSystem.clear_instance_cache()
        self.patch.setenv("AWS_ENDPOINT_URL", url)

    def reset(self):
        """Take everything back that stage `votes` stored."""
        self.server.objects = dict(self.before)

    def pod(self):
        """Run stage `votes` as a pod does and record the run's lock; the name of its fragment."""
        made = task.run(self.told, [self.upstream])
        task.record(self.told, [self.upstream, made])
        return made

    def wrong(self):
        """What in the store is not what it is named for, or lacks, though a pod ended well."""
        contents = {
            key.partition("/files/md5/")[2].replace("/", ""): content
            for key, content in self.server.objects.items()
            if "/files/md5/" in key
        }
        found = [oid for oid, content in contents.items() if md5(content) != oid.partition(".")[0]]
        return found + [key for key in self.made if "/files/" in key and key not in self.server.objects]

    def lost(self):
        """What was there before the fault and is not, or not the same."""
        return [key for key, content in self.before.items() if self.server.objects.get(key) != content]


@pytest.fixture
def trial(toy, monkeypatch):
    for name, value in {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
        "RETORT_STORE_PATIENCE": "60",
        "RETORT_RUN": "run-1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(outages.TIMEOUTS_S, "read_timeout", 1)
    monkeypatch.setattr(outages, "_FIRST_PAUSE_S", 0.02)
    monkeypatch.setattr(outages, "_LONGEST_PAUSE_S", 0.2)
    monkeypatch.setattr(S3FileSystem, "retries", 2)
    with S3Server() as server, FaultProxy(server.url, silence_s=1.5) as proxy:
        yield Trial(toy(), server, proxy, monkeypatch)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", KINDS)
def test_no_fault_between_pod_and_store_loses_anything_or_is_believed(trial, row, kind) -> None:
    counts = row("between pod and store", f"{kind}: {KINDS[kind]}")
    drawn = random.Random(kind)
    trial.proxy.random.seed(kind)
    number = 0
    while counts.tried < LEAST:
        number += 1
        assert number < 20 * LEAST, f"only {counts.tried} faults of kind {kind} could be made"
        every = EVERY["often" if number % 2 else "seldom"]
        trial.reset()
        trial.through()
        left = [max(1, LEAST - counts.tried)]

        def choose(method: str, _path: str, every: int = every, left: list[int] = left) -> str:
            if left[0] and applies(kind, method) and drawn.randrange(every) == 0:
                left[0] -= 1
                return kind
            return ""

        before = trial.proxy.done[kind]
        trial.proxy.choose = choose
        made, code = "", 0
        try:
            made = trial.pod()
        except SystemExit as ended:
            code = ended.code
        assert code in (0, RETRY, DO_NOT_RETRY)
        trial.proxy.choose = lambda *_: ""
        trial.direct()
        faults = trial.proxy.done[kind] - before
        counts.tried += faults
        counts.lost += len(trial.lost())
        if made:
            is_right = made == trial.right and not trial.wrong()
            lock = Records.of(REMOTE, "run-1").lock()
            is_right = is_right and lock["votes"] == lock_fragments.load(made, REMOTE)["votes"]
            counts.survived += faults if is_right else 0
            counts.wrong += 0 if is_right else faults
        else:
            assert trial.pod() == trial.right
            assert not trial.wrong()
            counts.refused += faults
    assert (counts.lost, counts.wrong) == (0, 0)
    assert counts.survived + counts.refused == counts.tried
