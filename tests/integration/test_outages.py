"""A store that is away, slow to answer or damages what passes: waited for, tried again, or refused; never believed."""

import json
import random
import time
from pathlib import Path

import pytest
from s3fs import S3FileSystem

from retort.errors import DO_NOT_RETRY, RETRY, StorageError, StoreAwayError
from retort.io import outages
from retort.io.objects import Objects
from retort.io.outages import patient, patiently
from retort.pod import lock_fragments, task
from retort.pod.run_records import Records
from retort.pod.settings import settings
from retort.pod.state_mirror import Mirror
from retort.run import contents, dvc_adapter
from retort.run.dvc_workspace import opened
from retort.run.tasks import graph
from retort.run.workspace import create
from tests.s3_server import FAULTS, S3Server, md5

REMOTE = "s3://bucket/store"
VOTES = (
    *("outputs/prompts", "outputs/ballots/shard-0.parquet", "outputs/ballots/shard-1.parquet"),
    *("metrics/ballots-0.json", "metrics/ballots-1.json"),
)


@pytest.fixture
def server(monkeypatch):
    for name, value in {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(outages.TIMEOUTS_S, "read_timeout", 1)
    monkeypatch.setattr(outages, "_FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr(S3FileSystem, "retries", 2)
    S3FileSystem.clear_instance_cache()  # it keeps connections by their arguments, to another test's server
    with S3Server() as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
        yield running


def first(count, fault, *, method="", part=""):
    """The first `count` requests of a method on keys with `part` get `fault`."""
    left = [count]

    def choose(command, key):
        if left[0] and method in ("", command) and part in key:
            left[0] -= 1
            return fault
        return ""

    return choose


@pytest.fixture
def objects(server):
    return Objects.of(REMOTE, "x")


@pytest.mark.parametrize("fault", ["reset", "hang", "500", "503", "SlowDown", "403", "cut"])
def test_every_failure_of_a_store_is_ours_whatever_the_library_calls_it(server, objects, fault):
    objects.write("a", b"content of a")
    server.fault = lambda *_: fault
    calls = {"read": lambda: objects.read("a"), "write": lambda: objects.write("b", b"b"), "names": objects.names}
    for name in ("read",) if fault in ("cut", "hang") else calls:
        with pytest.raises(StoreAwayError, match="does not answer as it should"):
            calls[name]()


def test_a_store_that_refuses_connections_is_ours(server, objects, tmp_path):
    (tmp_path / "file").write_text("x")
    server.stop()
    for call in (
        lambda: objects.read("a"),
        lambda: objects.write("b", b"b"),
        objects.names,
        lambda: objects.remove("a"),
        lambda: objects.upload("a", tmp_path / "file"),
    ):
        with pytest.raises(StoreAwayError):
            call()
    server.start()


def test_what_is_not_there_is_not_waited_for(server, objects, tmp_path):
    with patient(60), pytest.raises(StorageError, match="is not in the object store") as refused:
        objects.download("gone", tmp_path / "here")
    assert not isinstance(refused.value, StoreAwayError)
    assert objects.read("gone") is None


def test_a_store_that_comes_back_is_waited_for_and_that_is_said(server, objects, caplog):
    objects.write("a", b"1")
    server.fault = first(3, "503", part="store")
    with patient(60):
        assert objects.read("a") == b"1"
    assert "Trying again in" in caplog.text
    assert "done at attempt" in caplog.text


def test_patience_ends_and_says_how_long_it_was(monkeypatch):
    monkeypatch.setattr(outages, "_FIRST_PAUSE_S", 0.05)

    def away():
        raise StoreAwayError("The store is away.")

    began = time.monotonic()
    with patient(1.5), pytest.raises(StoreAwayError, match=r"Given up after \d attempts in [12] seconds"):
        patiently("fetching", away)
    assert 1.4 < time.monotonic() - began < 5


def test_a_pod_is_patient_for_more_than_five_minutes(monkeypatch):
    slept, now = [], [0.0]
    monkeypatch.setattr(outages.time, "monotonic", lambda: now[0])

    def sleep(seconds):
        slept.append(seconds)
        now[0] += seconds

    monkeypatch.setattr(outages.time, "sleep", sleep)

    def away():
        raise StoreAwayError("away")

    with patient(), pytest.raises(StoreAwayError):
        patiently("fetching", away)
    assert sum(slept) > 300
    assert max(slept) <= 30
    assert len(slept) < 40


class Pod:
    """Runs stage `votes` on the server as a pod does, on upstream outputs that are there."""

    def __init__(self, toy, server):
        self.toy, self.server = toy, server
        self.root = toy.home / "runs/submit"
        create(self.root, toy.config, home=toy.home, remote=REMOTE, cache=self.root / "cache")
        for path in VOTES:
            file = self.root / path
            file = file if file.suffix else file / "train.parquet"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"what {path} says" * 100)
        self.entries = dvc_adapter.store(self.root, VOTES)
        made = {path.replace("/", "-"): {"outs": [entry]} for path, entry in self.entries.items()}
        self.upstream = lock_fragments.save(made, REMOTE)

    def run(self):
        tasks = graph(self.toy.config, self.toy.home).groups["votes"]
        return task.run(settings(self.toy.config, tasks, {}, remote=REMOTE).to_json(), [self.upstream])


@pytest.fixture
def pod(toy, server):
    return Pod(toy(), server)


def whole(server):
    """Whether every content in the store has the hash that it is named for."""
    contents = {
        key.partition("/files/md5/")[2].replace("/", ""): content
        for key, content in server.objects.items()
        if "/files/md5/" in key
    }
    return contents and all(md5(content) == oid.partition(".")[0] for oid, content in contents.items())


@pytest.mark.parametrize("fault", [one for one in FAULTS if one != "hang"])
def test_a_pod_gets_through_single_faults_of_every_kind_with_the_right_result(pod, fault, monkeypatch):
    """One request in four goes wrong, twenty times: by chance, for what fails at every fourth may fail at the same
    request of a call each time that it is tried again."""
    monkeypatch.setenv("RETORT_STORE_PATIENCE", "60")
    right = pod.run()
    for key in [key for key in pod.server.objects if "/runs/" in key or key.endswith(right.partition(":")[2])]:
        del pod.server.objects[key]
    chance, left = random.Random(11), [20]

    def one_in_four(method, key):
        if not left[0] or (fault in ("damage", "cut") and method != "GET") or chance.random() > 0.25:
            return ""
        if fault == "damage" and "/md5/" not in key:  # what has no hash can be damaged unseen by anybody
            return ""
        left[0] -= 1
        return fault

    pod.server.fault = one_in_four
    assert pod.run() == right
    assert pod.server.done[fault] > 0
    assert whole(pod.server)


def test_a_store_that_is_away_at_the_start_and_at_the_end_of_a_stage(pod, monkeypatch, caplog):
    monkeypatch.setenv("RETORT_STORE_PATIENCE", "60")
    away = pod.server.away(3)
    pod.run()
    away.join()
    pod.toy.ran()
    for key in [key for key in pod.server.objects if "/runs/" in key]:
        del pod.server.objects[key]
    command = pod.toy.log.parent / "bin/retort"
    mark = pod.toy.home / "ended"
    command.write_text(command.read_text() + f"\npathlib.Path({str(mark)!r}).touch()\n")
    pod.server.fault = lambda *_: "503" if mark.exists() and pod.server.done["503"] < 12 else ""
    pod.run()
    assert pod.toy.ran() == ["votes"]  # once: it is not the stage that is tried again
    assert "Trying again" in caplog.text


def test_a_store_that_stays_away_ends_the_task_with_75_a_reason_and_without_traceback(pod, monkeypatch, capfd):
    monkeypatch.setenv("RETORT_STORE_PATIENCE", "2")
    monkeypatch.setenv("RETORT_RUN", "run-1")
    monkeypatch.setattr(task, "_LAST_WORDS_S", 0.0)
    pod.server.fault = lambda _, key: "503" if "/md5/" in key else ""
    with pytest.raises(SystemExit) as ended:
        pod.run()
    assert ended.value.code == RETRY
    (failure,) = Records.of(REMOTE, "run-1").failures()
    assert "Given up after" in failure.message
    assert capfd.readouterr().err.count("Traceback") == 0


def test_work_that_cannot_be_stored_is_not_lost_with_its_state(pod, monkeypatch):
    """The stage ended and its outputs cannot be sent: the next attempt goes on from the resume state."""
    command = pod.toy.log.parent / "bin/retort"
    text = command.read_text()
    state = "pathlib.Path('.retort/state/votes')"
    write = f"{state}.mkdir(parents=True, exist_ok=True); ({state} / 'step').write_text('9')"
    command.write_text(text + f"\nprint('had', sorted(map(str, {state}.glob('*'))), file=sys.stderr)\n{write}\n")
    monkeypatch.setenv("RETORT_STORE_PATIENCE", "1")
    pod.server.fault = lambda method, key: "503" if method == "PUT" and "/md5/" in key else ""
    with pytest.raises(SystemExit) as ended:
        pod.run()
    assert ended.value.code == RETRY
    assert [key for key in pod.server.objects if "/state/" in key and "step" in key]
    pod.server.fault = lambda *_: ""
    pod.run()
    assert [key for key in pod.server.objects if "/state/" in key] == []


def test_an_object_damaged_in_s3_is_refused(pod, monkeypatch):
    key = next(key for key in pod.server.objects if key.endswith(pod.entries[VOTES[1]]["md5"][2:]))
    pod.server.objects[key] = pod.server.objects[key][:-1] + b"!"
    with pytest.raises(SystemExit) as ended:
        pod.run()
    assert ended.value.code == DO_NOT_RETRY
    assert pod.toy.ran() == []


def test_a_bucket_whose_etags_are_not_md5_is_read_back_once_and_then_believed(pod, monkeypatch):
    put = pod.server.put
    monkeypatch.setattr(pod.server, "put", lambda key, content, _="": put(key, content, "0" * 32))
    pod.run()
    assert whole(pod.server)


def test_the_mirror_outlives_an_outage_and_catches_up_by_itself(server, tmp_path, caplog):
    store = Objects.of(REMOTE, "state/key")
    folder = tmp_path / "state"
    folder.mkdir()

    def wait_for(text):
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            snapshot = json.loads(server.objects.get("bucket/store/state/key/snapshot.json", b"{}"))
            copies = [copy["name"] for copy in snapshot.get("files", {}).values()]
            if any(server.objects.get(f"bucket/store/state/key/{name}") == text for name in copies):
                return True
            time.sleep(0.05)
        return False

    with Mirror(folder, store, interval_s=0.1) as mirror:
        (folder / "step-1").write_text("one")
        assert wait_for(b"one")
        server.stop()
        (folder / "step-2").write_text("two")
        deadline = time.monotonic() + 30
        while "could not be copied" not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.05)
        server.start()
        assert wait_for(b"two")
        assert mirror._thread.is_alive()
    assert "could not be copied" in caplog.text
    assert "is copied again" in caplog.text
    assert store.names() == []


def test_a_damaged_resume_state_is_not_resumed_from(server, tmp_path, caplog):
    store = Objects.of(REMOTE, "state/key")
    (tmp_path / "a").mkdir()
    (tmp_path / "a/step").write_text("weights")
    with pytest.raises(RuntimeError), Mirror(tmp_path / "a", store, interval_s=60):
        raise RuntimeError
    (key,) = [key for key in server.objects if "/step." in key]
    server.objects[key] = b"wEights"
    with Mirror(tmp_path / "b", store, interval_s=60):
        assert not (tmp_path / "b").exists()
    assert "starts over" in caplog.text


def test_a_resume_state_that_cannot_be_reached_is_not_thrown_away(server, tmp_path):
    store = Objects.of(REMOTE, "state/key")
    (tmp_path / "a").mkdir()
    (tmp_path / "a/step").write_text("weights")
    with pytest.raises(RuntimeError), Mirror(tmp_path / "a", store, interval_s=60):
        raise RuntimeError
    server.fault = lambda *_: "503"
    with pytest.raises(StoreAwayError), Mirror(tmp_path / "b", store, interval_s=60):
        pytest.fail("started over")
    server.fault = lambda *_: ""
    with Mirror(tmp_path / "c", store, interval_s=60):
        assert (tmp_path / "c/step").read_text() == "weights"


def test_a_full_disk_while_fetching_is_named_as_that(pod, limit_file_size):
    lock = lock_fragments.load(pod.upstream, REMOTE)
    root = Path("runs/full")
    create(root, pod.toy.config, home=Path(), remote=REMOTE, cache=Path("runs/.cache-full"))
    dvc_adapter.write_lock(root, lock)
    file = place(root / "../.cache-full", pod.entries[VOTES[1]]["md5"])
    outs = contents.Wanted(VOTES[1], pod.entries[VOTES[1]]["md5"], "ballots-0")
    with opened(root) as here:
        here.contents.remote_size(outs.oid)  # DVC's own databases are made
        with limit_file_size(100), pytest.raises(StorageError, match="could not be written") as refused:
            here.contents.fetch([outs])
        assert not isinstance(refused.value, StoreAwayError)
        assert not file.exists()
        here.contents.fetch([outs])
    assert file.exists()


def place(store, oid):
    return store / "files/md5" / oid[:2] / oid[2:]
