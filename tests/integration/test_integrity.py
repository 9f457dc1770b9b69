"""What is read is what was recorded: damaged and missing contents, wherever they lie, are refused or mended."""

import hashlib
import json
import os
from pathlib import Path

import pytest
from retort_pipelines.runs.locks import recorded
from typer.testing import CliRunner

from retort.cli.app import app
from retort.config import load_config
from retort.errors import DO_NOT_RETRY, IntegrityError, StorageError
from retort.pod import lock_fragments, task
from retort.pod.run_records import Records
from retort.pod.settings import settings
from retort.run import dvc_adapter
from retort.run.dvc_workspace import opened
from retort.run.tasks import graph
from retort.run.verify import verify
from retort.run.workspace import create

VOTES = ("outputs/prompts", "outputs/teacher_responses/shard-0.parquet")
"""What stage `votes` reads."""
MAKERS = {VOTES[0]: "prompts", VOTES[1]: "teacher_responses-0"}


def flipped(content):
    return bytes([content[0] ^ 1]) + content[1:]


DAMAGES = {
    "right length": flipped,
    "cut": lambda content: content[: len(content) // 2],
    "empty": lambda _: b"",
    "longer": lambda content: content + b"x",
    "missing": None,
}


def damage(file, how):
    """Damage a file in place, write-protected or not, and leave its times and rights as they were."""
    status = file.stat()
    file.chmod(0o644)
    if DAMAGES[how] is None:
        file.unlink()
        return
    file.write_bytes(DAMAGES[how](file.read_bytes()))
    file.chmod(status.st_mode)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def place(store, oid):
    """File of a content in a folder remote or a cache."""
    return Path(store) / "files/md5" / oid[:2] / oid[2:]


def members(store, oid):
    return {entry["relpath"]: entry["md5"] for entry in json.loads(place(store, oid).read_text())}


class Store:
    """A folder remote with the upstream outputs of stage `votes`, as a run left them there."""

    def __init__(self, toy):
        self.toy = toy
        self.root = toy.home / "runs/submit"
        create(self.root, toy.config, home=toy.home, remote=str(self.root / "remote"), cache=self.root / "cache")
        for path in VOTES:
            file = self.root / path
            file = file if file.suffix else file / "train.parquet"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"what {path} says")
        self.entries = dvc_adapter.store(self.root, VOTES)
        self.remote = dvc_adapter.remote(self.root)
        made = {MAKERS[path]: {"outs": [entry]} for path, entry in self.entries.items()}
        self.upstream = lock_fragments.save(made, self.remote)

    def run(self):
        tasks = graph(self.toy.config, self.toy.home).groups["votes"]
        return task.run(settings(self.toy.config, tasks, {}, remote=self.remote).to_json(), [self.upstream])

    def object(self, path, member=""):
        oid = self.entries[path]["md5"]
        return place(self.remote, members(self.remote, oid)[member] if member else oid)

    def records(self):
        return sorted(Path(self.remote).glob("runs/??/*/*"))

    def workspace(self, name, lock):
        """Another workspace on the same store, in which `lock` is known."""
        root = Path("runs") / name
        create(root, load_config(self.toy.file), home=Path(), remote=self.remote, cache=Path(f"runs/.cache-{name}"))
        dvc_adapter.write_lock(root, lock)
        return root


@pytest.fixture
def store(toy):
    return Store(toy(teacher_responses={"shards": [0]}))


@pytest.mark.parametrize(
    ("path", "member", "how"),
    [(VOTES[0], "train.parquet", how) for how in DAMAGES]
    + [(VOTES[1], "", how) for how in ("right length", "missing")]
    + [(VOTES[0], "", how) for how in ("right length", "empty", "missing")],
)
def test_a_pod_refuses_an_input_that_is_not_what_was_recorded(store, path, member, how, caplog, monkeypatch):
    monkeypatch.setenv("RETORT_RUN", "run-1")
    damage(store.object(path, member), how)
    with pytest.raises(SystemExit) as ended:
        store.run()
    assert ended.value.code == DO_NOT_RETRY
    assert store.toy.ran() == []
    assert store.records() == []
    (failure,) = Records.of(store.remote, "run-1").failures()
    kind = "missing" if how == "missing" else "damaged"
    named = f"{path}/{member}" if member else path
    maker = MAKERS[path]
    assert (
        f"{named} (which stage {maker} made) is {kind}: {store.object(path) if not member else ''}" in failure.message
    )
    assert f"`retort rerun RUN --from {maker}`" in failure.message
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("how", ["right length", "missing"])
def test_the_remedy_works_a_stage_made_again_replaces_what_is_damaged(store, how, monkeypatch):
    votes = store.run()
    entry = lock_fragments.load(votes, store.remote)["votes"]
    (out,) = [out for out in entry["outs"] if out["path"] == "outputs/votes"]
    (file,) = members(store.remote, out["md5"]).values()
    right = place(store.remote, file).read_bytes()
    damage(place(store.remote, file), how)
    monkeypatch.setenv("RETORT_FORCE", "1")
    assert store.run() == votes
    assert place(store.remote, file).read_bytes() == right


def test_an_equal_run_whose_outputs_are_damaged_is_not_used_and_its_objects_are_replaced(store, caplog):
    votes = store.run()
    entry = lock_fragments.load(votes, store.remote)["votes"]
    (out,) = [out for out in entry["outs"] if out["path"] == "outputs/votes"]
    (file,) = members(store.remote, out["md5"]).values()
    right = place(store.remote, file).read_bytes()
    damage(place(store.remote, file), "right length")
    store.toy.ran()
    assert store.run() == votes
    assert store.toy.ran() == ["votes"]
    assert "on record, but cannot be used" in caplog.text
    assert place(store.remote, file).read_bytes() == right
    assert store.run() == votes
    assert store.toy.ran() == []  # the record is used again


@pytest.mark.parametrize("how", ["right length", "cut", "empty"])
def test_a_damaged_record_of_an_equal_run_is_passed_over(store, how, caplog):
    votes = store.run()
    (record,) = store.records()
    right = record.read_bytes()
    damage(record, how)
    store.toy.ran()
    assert store.run() == votes
    assert store.toy.ran() == ["votes"]
    assert "this record of an equal run is damaged" in caplog.text
    assert record.read_bytes() == right


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_fragment_of_a_lock_is_refused(store, how):
    damage(Path(store.remote) / "fragments" / store.upstream.removeprefix("sha256:"), how)
    with pytest.raises(IntegrityError, match="rerun RUN --from prompts"):
        lock_fragments.load(store.upstream, store.remote)
    with pytest.raises(SystemExit) as ended:
        store.run()
    assert ended.value.code == DO_NOT_RETRY


@pytest.mark.parametrize(
    ("path", "how"),
    [("outputs/votes", how) for how in DAMAGES] + [("metrics/votes.json", how) for how in ("right length", "missing")],
)
def test_what_a_run_made_is_fetched_as_recorded_or_not_at_all(store, path, how):
    lock = lock_fragments.load(store.run(), store.remote)
    (out,) = [out for out in lock["votes"]["outs"] if out["path"] == path]
    whole = store.workspace("whole", lock)
    dvc_adapter.fetch(whole, [path])
    assert (whole / path).exists()
    member = next(iter(members(store.remote, out["md5"]).values())) if out["md5"].endswith(".dir") else out["md5"]
    damage(place(store.remote, member), how)
    other = store.workspace("other", lock)
    with pytest.raises(IntegrityError, match=f"{path}.*stage votes made"):
        dvc_adapter.fetch(other, [path])
    assert not (other / path).exists()
    assert not place("runs/.cache-other", member).exists()
    dvc_adapter.fetch(whole, [path])  # what a machine has, it need not fetch


@pytest.mark.parametrize(
    ("link", "how"),
    [(link, "right length") for link in ("copy", "symlink", "hardlink")] + [("copy", "missing"), ("hardlink", "cut")],
)
def test_a_damaged_cache_is_mended_from_the_remote_before_it_is_read(store, link, how):
    lock = lock_fragments.load(store.run(), store.remote)
    root = store.workspace("linked", lock)
    config = root / ".dvc/config"
    config.write_text(config.read_text().replace("[cache]", f"[cache]\n    type = {link}"))
    dvc_adapter.fetch(root)
    (out,) = [out for out in lock["votes"]["outs"] if out["path"] == "outputs/votes"]
    (name, file), *_ = members(store.remote, out["md5"]).items()
    right = place(store.remote, file).read_bytes()
    damage(place("runs/.cache-linked", file), how)
    dvc_adapter.fetch(root)
    assert (root / "outputs/votes" / name).read_bytes() == right
    assert place("runs/.cache-linked", file).read_bytes() == right


def test_a_damaged_shared_cache_is_never_sent(store):
    lock = lock_fragments.load(store.run(), store.remote)
    root = store.workspace("sender", lock)
    dvc_adapter.fetch(root)
    (out,) = [out for out in lock["votes"]["outs"] if out["path"] == "outputs/votes"]
    (file,) = members(store.remote, out["md5"]).values()
    damage(place("runs/.cache-sender", file), "right length")
    place(store.remote, file).unlink()
    with pytest.raises(IntegrityError, match=r"outputs/votes/content\.txt"):
        dvc_adapter.push(root)
    assert not place(store.remote, file).exists()


def test_an_input_that_changes_while_its_stage_runs_is_not_recorded(store, monkeypatch, caplog):
    command = store.toy.log.parent / "bin/retort"
    text = command.read_text()
    change = "pathlib.Path('outputs/prompts/train.parquet').write_text('another')"
    command.write_text(text.replace("seen = hashlib.sha256()", f"{change}\nseen = hashlib.sha256()"))
    with pytest.raises(SystemExit):
        store.run()
    assert "changed while stage votes ran" in caplog.text
    assert store.records() == []


def test_a_local_run_does_not_read_an_output_that_rotted_in_place(toy, monkeypatch):
    """Same size, same times: nothing but reading tells."""
    made = toy(teacher_responses={"shards": [0]})
    root = Path("runs/toy")
    create(root, made.config, home=Path(), remote="runs/.remote", cache=Path("runs/.cache"))
    monkeypatch.setenv("TOY_FAIL", "votes:65")
    with pytest.raises(Exception, match="votes"):
        dvc_adapter.reproduce(root)
    monkeypatch.delenv("TOY_FAIL")
    file = root / "outputs/prompts/content.txt"
    right = file.read_bytes()
    damage(file, "right length")
    made.ran()
    with pytest.raises(IntegrityError, match=r"outputs/prompts \(which stage prompts made\) is damaged"):
        dvc_adapter.reproduce(root)
    assert made.ran() == []
    monkeypatch.setenv("TOY_FAIL", "sft-sft:65")
    with pytest.raises(Exception, match="sft"):
        dvc_adapter.reproduce(root)  # the same command puts it right
    assert file.read_bytes() == right
    assert made.ran() == ["votes", "sft-sft"]


def test_a_folder_that_lists_a_file_outside_itself_is_refused(store):
    lists = json.dumps([{"md5": "0" * 32, "relpath": "../../escape"}]).encode()
    oid = hashlib.md5(lists, usedforsecurity=False).hexdigest() + ".dir"
    place(store.remote, oid).parent.mkdir(parents=True, exist_ok=True)
    place(store.remote, oid).write_bytes(lists)
    outs = [{"path": VOTES[0], "hash": "md5", "md5": oid, "size": 1, "nfiles": 1}]
    root = store.workspace("evil", {"prompts": {"cmd": "retort stage prompts", "outs": outs}})
    with pytest.raises((IntegrityError, StorageError)):
        dvc_adapter.fetch(root, [VOTES[0]])
    assert not (root / "escape").exists()


def pulled(store, name="whole"):
    """A workspace with all that stage `votes` made and read, its lock, and where its vote lies."""
    lock = lock_fragments.load(store.run(), store.remote)
    root = store.workspace(name, lock)
    dvc_adapter.fetch(root)
    (out,) = [out for out in lock["votes"]["outs"] if out["path"] == "outputs/votes"]
    (oid,) = members(store.remote, out["md5"]).values()
    return root, lock, oid


@pytest.mark.parametrize("how", DAMAGES)
def test_verify_finds_a_damaged_object_and_puts_it_back_from_a_good_copy(store, how):
    root, lock, oid = pulled(store)
    right = place(store.remote, oid).read_bytes()
    assert verify(root, lock).findings == []
    damage(place(store.remote, oid), how)
    findings = verify(root, lock, stored=True).findings
    kind = "missing" if how == "missing" else "damaged"
    assert ("outputs/votes/content.txt", "votes", kind) in [(one.path, one.stage, one.kind) for one in findings]
    assert all("retort " in one.remedy for one in findings)
    if how != "missing":  # records that name it are suspect
        assert {one.kind for one in findings} == {kind, "unusable record"}
    report = verify(root, lock, stored=True, repair=True)
    assert report.findings
    assert report.open == []
    assert place(store.remote, oid).read_bytes() == right
    assert verify(root, lock, stored=True).findings == []


def test_verify_leaves_what_no_good_copy_exists_of_and_names_the_stage_to_run_again(store):
    root, lock, oid = pulled(store)
    for folder in (store.remote, "runs/.cache-whole"):
        damage(place(folder, oid), "right length")
    damage(root / "outputs/votes/content.txt", "right length")
    (lost, *_) = verify(root, lock, stored=True, repair=True).open
    assert (lost.path, lost.stage, lost.place) == ("outputs/votes/content.txt", "votes", str(place(store.remote, oid)))
    assert "retort rerun RUN --from votes" in lost.remedy


def test_verify_removes_a_damaged_cache_copy_and_mends_the_workspace(store):
    root, lock, oid = pulled(store)
    right = place(store.remote, oid).read_bytes()
    damage(place("runs/.cache-whole", oid), "right length")
    damage(root / "outputs/votes/content.txt", "cut")
    assert len(verify(root, lock).open) == 2
    assert verify(root, lock, repair=True).open == []
    assert (root / "outputs/votes/content.txt").read_bytes() == right
    assert verify(root, lock).findings == []


def test_verify_finds_a_record_that_was_made_of_a_damaged_input(store):
    """What was recorded before inputs were verified: the right hash, the size of the damaged file."""
    root, lock, _ = pulled(store)
    (record,) = store.records()
    text = record.read_text()
    size = next(dep["size"] for dep in lock["votes"]["deps"] if dep["path"] == VOTES[1])
    record.write_text(text.replace(f"size: {size}", f"size: {size - 7}", 1))
    findings = verify(root, lock).findings
    assert [one.kind for one in findings] == ["unusable record"]
    assert VOTES[1] in findings[0].path
    assert verify(root, lock, repair=True).open == []
    assert store.records() == []


@pytest.mark.parametrize("how", ["right length", "empty"])
def test_verify_finds_and_removes_a_damaged_record(store, how):
    root, lock, _ = pulled(store)
    (record,) = store.records()
    damage(record, how)
    assert [one.kind for one in verify(root, lock).findings] == ["unusable record"]
    assert verify(root, lock, repair=True).open == []
    assert not record.exists()


def test_a_run_of_this_machine_that_was_never_sent_is_whole(store):
    root, lock, _ = pulled(store)
    for file in Path(store.remote).rglob("*"):
        if file.is_file():
            file.unlink()
    report = verify(root, lock)
    assert report.findings == []
    assert report.unsent > 0


def test_the_verb_says_what_is_wrong_and_exits_with_65(store, capsys):
    root, _, oid = pulled(store)
    shown = CliRunner().invoke(app, ["verify", "--workspace", str(root)])
    assert shown.exit_code == 0, shown.output
    damage(place(store.remote, oid), "cut")
    shown = CliRunner().invoke(app, ["verify", "whole", "--json"])
    assert shown.exit_code == DO_NOT_RETRY
    assert "outputs/votes/content.txt" in [one["path"] for one in json.loads(shown.stdout)["findings"]]
    assert CliRunner().invoke(app, ["verify", "whole", "--repair"]).exit_code == 0
    assert CliRunner().invoke(app, ["verify", "whole"]).exit_code == 0


def test_a_failed_run_is_verified_as_far_as_it_came(store, monkeypatch):
    monkeypatch.setenv("RETORT_RUN", "run-2")
    damage(store.object(VOTES[1]), "cut")
    with pytest.raises(SystemExit):
        store.run()
    lock = recorded(store.remote, Records.of(store.remote, "run-2"))
    assert {"prompts", "teacher_responses-0"} <= set(lock)


@pytest.mark.parametrize("how", ["right length", "cut", "empty"])
def test_a_damaged_lock_of_a_run_is_refused(store, how):
    records = Records.of(store.remote, "run-3")
    records.keep_lock({"votes": {"cmd": "retort stage votes", "outs": [{"path": "outputs/votes", "md5": "0" * 32}]}})
    file = Path(store.remote) / "runs/run-3/lock.json"
    if how == "right length":
        file.write_text(file.read_text().replace("0" * 32, "0" * 31 + "1"))
    else:
        damage(file, how)
    with pytest.raises(IntegrityError, match=r"lock\.json"):
        records.lock()


def test_merging_a_damaged_fragment_ends_the_task_with_65(store):
    damage(Path(store.remote) / "fragments" / store.upstream.removeprefix("sha256:"), "right length")
    tasks = graph(store.toy.config, store.toy.home).groups["votes"]
    told = settings(store.toy.config, tasks, {}, remote=store.remote).to_json()
    with pytest.raises(SystemExit) as ended:
        task.collect(told, [store.upstream])
    assert ended.value.code == DO_NOT_RETRY


def cut_at_an_output(text):
    """A record without its last output: still YAML, and still what DVC expects of one."""
    return text[: text.rindex("- path:")]


@pytest.mark.parametrize("how", ["cut at an output", "right length", "empty"])
def test_dvc_does_not_get_to_see_a_damaged_record_in_the_local_cache(store, how):
    lock = lock_fragments.load(store.run(), store.remote)
    root = store.workspace("local", lock)
    dvc_adapter.fetch(root)
    (record,) = store.records()
    place_here = Path("runs/.cache-local") / record.relative_to(store.remote)
    place_here.parent.mkdir(parents=True)
    text = record.read_text()
    place_here.write_text(cut_at_an_output(text) if how == "cut at an output" else text)
    if how != "cut at an output":
        damage(place_here, how)
    with opened(root) as here:
        key, value = place_here.parent.name, place_here.name
        assert here.repo.stage_cache._load_cache(key, value) is None
    assert not place_here.exists()
