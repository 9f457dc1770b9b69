"""`retort gc`: what somebody refers to stays, whoever it is; what nobody does goes, beside running runs too."""

import copy
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from dvc.stage.cache import _get_cache_hash
from retort_pipelines.runs import garbage
from retort_pipelines.runs.cluster_uses import ClusterUses
from s3fs import S3FileSystem
from typer.testing import CliRunner

from retort.cli.app import app
from retort.config import load_config
from retort.errors import ConfigError, IntegrityError
from retort.pod import kept_settings, lock_fragments
from retort.pod.run_records import Failure, Records
from retort.pod.settings import CONFIGURATION, GroupSettings, parameter_of
from retort.run import champion, dvc_adapter
from retort.run.dvc_workspace import opened, parse_record
from retort.run.graph import Task
from retort.run.known_stages import STAGES
from retort.run.mark import Mark
from retort.run.verify import verify
from retort.run.workspace import create
from tests.s3_server import S3Server

REMOTE = "s3://bucket/store"
DAY = 86400.0
KEYS = ("path", "hash", "md5", "size", "nfiles")


@pytest.fixture
def server(monkeypatch):
    for name, value in {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "s", "AWS_DEFAULT_REGION": "x"}.items():
        monkeypatch.setenv(name, value)
    S3FileSystem.clear_instance_cache()
    with S3Server() as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
        yield running


class Runs:
    """Runs in one store, each kept as pods keep it: contents, fragments, records of equal runs, its lock."""

    def __init__(self, home, server):
        self.home, self.server = home, server

    def workspace(self, name):
        root = self.home / "runs" / name
        dvc_adapter.init(root, remote=REMOTE, cache=self.home / "runs/.cache")
        return root

    def run(self, name, says):
        """A run of two tasks and a source file; its lock. What it made says `says`, and something that all have."""
        root = self.workspace(name)
        for path, text in {
            "data/x.jsonl": says,
            "outputs/votes/a": f"votes {says}",
            "outputs/votes/b": "in all",
            "outputs/models/sft/weights": f"weights {says}",
            "metrics/sft.json": f"[{says!r}]",
        }.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
        made = dvc_adapter.store(root, ["data/x.jsonl", "outputs/votes", "outputs/models/sft", "metrics/sft.json"])
        source, votes, model, metrics = ({key: one[key] for key in KEYS if key in one} for one in made.values())
        lock = {
            "votes": {"cmd": "retort stage votes", "deps": [source], "outs": [votes]},
            "sft-sft": {"cmd": "retort stage sft --student sft", "deps": [votes], "outs": [model, metrics]},
        }
        for address, entry in lock.items():
            entry["params"] = {"code.yaml": {address: f"code {says}"}, "params.yaml": {"sft.steps": 3}}
            lock_fragments.save({address: entry}, REMOTE)
            key, value = _get_cache_hash(copy.deepcopy(entry), key=True), _get_cache_hash(copy.deepcopy(entry))
            with opened(root) as here:
                here.runs_there.write(key, value, yaml.safe_dump(entry).encode())
                assert parse_record(key, value, here.runs_there.read_one(key, value))
        dvc_adapter.write_lock(root, lock)
        Records.of(REMOTE, f"{name}-0000").keep_lock(lock)
        return lock

    def forget_folder(self, name):
        """Remove a workspace, so that only the store knows the run."""
        subprocess.run(["rm", "-rf", str(self.home / "runs" / name)], check=True)

    def age(self, days, part=""):
        """Make everything so old."""
        for key in self.server.objects:
            if part in key:
                self.server.written[key] = time.time() - days * DAY

    def has(self, lock):
        """Whether all contents of a lock are in the store, files of folders too."""
        return all(self.object(oid) in self.server.objects for oid in self.contents(lock))

    def contents(self, lock):
        oids = {one["md5"] for entry in lock.values() for one in [*entry.get("outs", []), *entry.get("deps", [])]}
        for oid in list(oids):
            if oid.endswith(".dir") and self.object(oid) in self.server.objects:
                oids |= {one["md5"] for one in json.loads(self.server.objects[self.object(oid)])}
        return oids

    def object(self, oid):
        return f"bucket/store/files/md5/{oid[:2]}/{oid[2:]}"

    def collect(self, **changes):
        given = {"cluster": ClusterUses(), "young_s": 14 * DAY, "delete": True} | changes
        return garbage.collect_store(self.home, REMOTE, [], **given)

    def two_days_later(self):
        """The mark is two days old."""
        key = "bucket/store/gc/marked.json"
        mark = json.loads(self.server.objects[key])
        self.server.objects[key] = json.dumps(mark | {"at": mark["at"] - 2 * DAY}).encode()


@pytest.fixture
def runs(tmp_path, server):
    return Runs(tmp_path / "home", server)


@pytest.fixture
def two(runs):
    """A run that is kept and one whose folder is gone, both a hundred days old."""
    runs.kept, runs.gone = runs.run("kept", "one"), runs.run("gone", "two")
    runs.forget_folder("kept")
    runs.forget_folder("gone")
    runs.age(100)
    runs.only = runs.contents(runs.gone) - runs.contents(runs.kept)
    assert len(runs.contents(runs.gone)) - len(runs.only) == 1  # what all runs have
    return runs


def test_nothing_is_changed_without_delete_and_all_runs_are_kept(two):
    before = dict(two.server.objects)
    made = two.collect(delete=False, forget=["gone-0000"])
    assert two.server.objects == before
    assert made.unused.files == len(two.only)
    assert made.unused.bytes == sum(len(before[two.object(oid)]) for oid in two.only)
    assert made.users["run kept-0000"] >= len(two.contents(two.kept))
    assert two.collect().unused.files == 0  # both are recorded


def test_what_a_forgotten_run_made_goes_in_two_steps_and_all_else_stays(two):
    first = two.collect(forget=["gone-0000"])
    assert two.has(two.gone)
    assert not [key for key in two.server.objects if "runs/gone-0000" in key]
    assert first.marked == len(two.only)
    assert two.collect().marked == first.marked  # too early
    assert two.has(two.gone)
    gone = two.only
    two.two_days_later()
    made = two.collect()
    assert made.removed.files > len(gone)  # records of equal runs and fragments as well
    assert not [oid for oid in gone if two.object(oid) in two.server.objects]
    assert two.has(two.kept)
    root = two.workspace("again")
    dvc_adapter.write_lock(root, two.kept)
    assert verify(root, two.kept, stored=True).findings == []  # no record names what is gone


def test_runs_that_ended_long_ago_go_by_their_age(two):
    two.age(30, "runs/kept-0000")
    assert two.collect(older_than_s=60 * DAY, delete=False).forgotten == ["gone-0000"]


@pytest.mark.parametrize("who", ["workspace", "named folder", "tag", "branch", "champion"])
def test_what_a_folder_refers_to_stays(two, who, tmp_path):
    home = two.home
    root = home if who in ("tag", "branch", "champion") else home / "runs/mine"
    if who == "named folder":
        root = tmp_path / "elsewhere"
    git = ["git", "-C", str(home), "-c", "user.name=x", "-c", "user.email=x@x"]
    if who in ("tag", "branch"):
        subprocess.run([*git, "init", "-q"], check=True)
        subprocess.run([sys.executable, "-m", "dvc", "init", "-q"], cwd=home, check=True)
        (home / ".dvc/config").write_text(f"[core]\n  remote = s\n['remote \"s\"']\n  url = {REMOTE}\n")
        (home / "dvc.yaml").write_text("stages: {}\n")
    else:
        dvc_adapter.init(root, remote=REMOTE, cache=home / "runs/.cache")
    kept = two.gone
    if who == "champion":
        (out,) = [out for out in two.gone["sft-sft"]["outs"] if out["path"] == "outputs/models/sft"]
        decision = {"entry": {"md5": out["md5"], "path": champion.FOLDER}}
        champion._write(root, None, [decision])  # one that was there before, and can be rolled back to
        kept = {"x": {"outs": [out]}}
    else:
        dvc_adapter.write_lock(root, two.gone)
    if who in ("tag", "branch"):
        subprocess.run([*git, "add", "dvc.lock", "dvc.yaml", ".dvc"], check=True)
        subprocess.run([*git, "commit", "-qm", "x"], check=True)
        subprocess.run([*git, *({"tag": ["tag", "v1"], "branch": ["branch", "other"]}[who])], check=True)
        (home / "dvc.lock").unlink()
        subprocess.run([*git, "commit", "-qam", "gone"], check=True)
    others = [root] if who == "named folder" else []
    made = garbage.collect_store(
        home, REMOTE, others, cluster=None, forget=["gone-0000"], young_s=14 * DAY, delete=True
    )
    assert two.has(kept)
    assert two.has(two.kept)
    assert (made.removed.files > 2) == (who == "champion")  # its run's other contents


def test_what_a_run_under_way_may_read_stays_though_kubeflow_alone_remembers_it(two):
    address, entry = "votes", two.gone["votes"]
    cluster = ClusterUses(names=["run x"], tasks={(address, entry["params"]["code.yaml"][address])})
    two.collect(forget=["gone-0000"], cluster=cluster)
    two.two_days_later()
    two.collect(cluster=cluster)
    assert two.has({address: entry})
    assert [key for key in two.server.objects if "/fragments/" in key and address.encode() in two.server.objects[key]]
    assert not two.has(two.gone)


@pytest.mark.parametrize("form", ["address", "text"])
def test_what_a_run_or_schedule_reads_is_found_in_its_settings_which_stay(two, form):
    entry = two.gone["votes"]
    (source,) = entry["deps"]
    voting = Task(STAGES["votes"], sources=(source["path"],))
    told = GroupSettings(REMOTE, {}, {"": entry["params"]["code.yaml"]["votes"]}, [source], {"": voting})
    address = kept_settings.keep(told)
    given = {CONFIGURATION: "{}", parameter_of("votes"): address if form == "address" else told.to_json()}
    two.age(100, part="/settings/")

    def cluster():
        found = ClusterUses()
        found.add("schedule weekly", given)
        return found

    assert cluster().tasks == {("votes", told.code[""])}
    two.collect(forget=["gone-0000"], cluster=cluster())
    two.two_days_later()
    made = two.collect(cluster=cluster())
    assert two.has({"votes": entry})
    assert not two.has(two.gone)
    assert made.settings.files == 1
    assert kept_settings.read(address).files == [source]


def test_nothing_is_removed_where_the_settings_of_a_run_under_way_are_not_there(two):
    digest = "a" * 64
    with pytest.raises(
        IntegrityError, match=rf"run x, RUNNING: .*so nothing is removed\. .*{digest}: no such settings"
    ):
        ClusterUses().add("run x, RUNNING", {CONFIGURATION: "{}", parameter_of("votes"): f"{REMOTE}/settings/{digest}"})


def test_what_was_written_lately_stays(two):
    oids = two.only
    young = two.object(sorted(oids)[0])
    two.server.written[young] = time.time()
    two.collect(forget=["gone-0000"])
    two.two_days_later()
    two.collect()
    assert young in two.server.objects
    assert not [oid for oid in oids if two.object(oid) in two.server.objects and two.object(oid) != young]


def test_a_pod_sends_again_what_is_marked_and_so_it_stays(two):
    """It made the same as the forgotten run, found it in the store, and has recorded nothing yet."""
    two.collect(forget=["gone-0000"])
    assert two.run("pod", "two") == two.gone
    two.forget_folder("pod")
    for key in [key for key in two.server.objects if "/runs/pod-0000" in key or "/fragments/" in key]:
        two.age(100, key)  # nothing but what was sent again keeps it
        if "/runs/" in key:
            del two.server.objects[key]
    two.two_days_later()
    two.collect()
    assert two.has(two.gone)


def test_after_a_collection_kubeflow_does_not_remember_what_may_be_gone(two):
    from retort_pipelines.runs.submit import collected

    assert collected(REMOTE) == 0
    two.collect(forget=["gone-0000"])
    assert collected(REMOTE) == 1


def test_resume_states_that_nobody_goes_on_from_go_and_paid_responses_stay(two):
    for key in ("state/aa/step", "state/bb/step", "responses/x/part"):
        two.server.put(f"bucket/store/{key}", b"content")
    two.age(100, "state/aa")
    two.age(100, "responses")
    two.collect()
    assert "bucket/store/state/aa/step" not in two.server.objects
    assert "bucket/store/state/bb/step" in two.server.objects
    assert "bucket/store/responses/x/part" in two.server.objects


def test_nothing_goes_while_it_is_not_known_what_a_run_refers_to(two):
    (out, *_) = [out for entry in two.kept.values() for out in entry["outs"] if out["md5"].endswith(".dir")]
    subprocess.run(["rm", "-rf", str(two.home / "runs/.cache")], check=True)
    del two.server.objects[two.object(out["md5"])]
    before = dict(two.server.objects)
    with pytest.raises(IntegrityError, match=r"which run kept-0000 refers to.*nothing was removed"):
        two.collect(forget=["gone-0000"])
    assert two.server.objects == before


def test_a_run_that_is_not_there_cannot_be_forgotten(two):
    with pytest.raises(ConfigError, match=r"--forget other: no such run.*kept-0000"):
        two.collect(forget=["other"])


def test_a_failed_runs_records_stay_until_it_is_forgotten(two):
    failure = Failure("votes", "pod", 65, "no", [])
    Records.of(REMOTE, "failed-0000").keep_failure(failure)
    two.age(100)
    two.collect()
    assert Records.of(REMOTE, "failed-0000").failures() == [failure]
    two.collect(forget=["failed-0000"])
    assert Records.of(REMOTE, "failed-0000").failures() == []


def test_a_damaged_mark_is_refused():
    with pytest.raises(IntegrityError, match="is damaged"):
        Mark.from_json(b"{}", "gc/marked.json")


def test_the_verb_collects_the_caches_here(toy):
    made = toy()
    for seed in (1, 2):
        root = Path(f"runs/r{seed}")
        config = load_config(made.file, changes=[f"seed={seed}"])
        create(root, config, home=Path(), remote="runs/.remote", cache=Path("runs/.cache"))
        dvc_adapter.reproduce(root)
    subprocess.run(["rm", "-rf", "runs/r2"], check=True)
    old = time.time() - 100 * DAY
    for file in Path("runs/.cache").rglob("*"):
        os.utime(file, (old, old))
    shown = CliRunner().invoke(app, ["gc", "--json"])
    assert shown.exit_code == 0, shown.output
    (place,) = json.loads(shown.stdout)
    assert place["unused"]["files"] > 10
    assert place["removed"]["files"] == 0
    shown = CliRunner().invoke(app, ["gc", "--delete"])
    assert shown.exit_code == 0, shown.output
    assert "removed" in shown.stdout
    again = json.loads(CliRunner().invoke(app, ["gc", "--json"]).stdout)[0]
    assert (again["unused"]["files"], again["records"]) == (0, 0)
    assert again["used"] == place["used"]
    made.ran()
    assert dvc_adapter.reproduce(Path("runs/r1")) == []
    assert dvc_adapter.status(Path("runs/r1")) == {}


def test_the_verb_refuses_a_store_that_pods_use_without_asking_kubeflow(toy, monkeypatch):
    toy()
    monkeypatch.delenv("RETORT_KFP_HOST", raising=False)
    shown = CliRunner().invoke(app, ["gc", "--remote", REMOTE])
    assert isinstance(shown.exception, ConfigError)
    assert "RETORT_KFP_HOST" in str(shown.exception)
