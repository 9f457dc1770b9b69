"""Resume state in the object store: what a lost pod leaves is whole, and a finished one leaves nothing."""

import time

import pytest

from retort.errors import InterruptionError, StorageError
from retort.io.objects import Objects
from retort.pod.state_mirror import Mirror


@pytest.fixture
def store(tmp_path):
    return Objects.of(str(tmp_path / "store"), "state/key")


def written(folder):
    return {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*") if file.is_file()}


def lose(folder, store, files, *, pruned=()):
    """A pod that writes `files`, prunes others and is told to go."""

    def pod():
        with Mirror(folder, store, interval_s=60):
            for name, text in files.items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_text(text)
            for name in pruned:
                (folder / name).unlink()
            raise InterruptionError

    with pytest.raises(InterruptionError):
        pod()


def test_another_pod_goes_on_from_what_an_ended_one_had(tmp_path, store):
    files = {"sft/checkpoint-2/state.json": "2", "sft/curves.jsonl": "a\nb\n"}
    lose(tmp_path / "a", store, files)
    with Mirror(tmp_path / "b", store, interval_s=60):
        assert written(tmp_path / "b") == files
    assert store.names() == []  # the second pod ended well


def test_a_pod_that_just_vanishes_has_been_copied_while_it_ran(tmp_path, store):
    def vanish():
        with Mirror(tmp_path / "a", store, interval_s=0.02) as mirror:
            (tmp_path / "a").mkdir()
            (tmp_path / "a/step-1.pt").write_text("one")
            deadline = time.monotonic() + 20
            while store.read("snapshot.json") is None and time.monotonic() < deadline:
                time.sleep(0.01)
            mirror._save = lambda: None  # a lost node copies nothing when it goes
            raise RuntimeError

    with pytest.raises(RuntimeError):
        vanish()
    with Mirror(tmp_path / "b", store, interval_s=60):
        assert written(tmp_path / "b") == {"step-1.pt": "one"}


def test_only_what_changed_is_copied_and_what_was_pruned_goes(tmp_path, store, monkeypatch):
    lose(tmp_path / "a", store, {"step-1.pt": "one", "step-2.pt": "two"})
    copied = []
    upload = Objects.upload

    def counted(self, name, file):
        copied.append(file.name)
        upload(self, name, file)

    monkeypatch.setattr(Objects, "upload", counted)
    lose(tmp_path / "a", store, {"step-3.pt": "three"}, pruned=["step-1.pt"])
    assert copied == ["step-3.pt"]
    assert len(store.names()) == 3  # two checkpoints and the list of them


def test_files_that_are_still_being_written_are_left_out(tmp_path, store):
    lose(tmp_path / "a", store, {".step-1.pt.77.tmp": "ha", "step-0.pt": "zero"})
    with Mirror(tmp_path / "b", store, interval_s=60):
        assert written(tmp_path / "b") == {"step-0.pt": "zero"}


def test_a_snapshot_that_lost_a_file_is_not_used_at_all(tmp_path, store):
    lose(tmp_path / "a", store, {"one": "1", "two": "2"})
    store.remove(next(name for name in store.names() if name.startswith("two")))
    with Mirror(tmp_path / "b", store, interval_s=60):
        assert not (tmp_path / "b").exists()


def test_a_store_that_fails_costs_the_state_and_not_the_stage(tmp_path, store, monkeypatch, caplog):
    def refuse(*_):
        raise StorageError("no")

    for call in ("read", "write", "upload", "names"):
        monkeypatch.setattr(Objects, call, refuse)
    with Mirror(tmp_path / "a", store, interval_s=0.01):
        (tmp_path / "a").mkdir()
        (tmp_path / "a/file").write_text("x")
        time.sleep(0.1)
    assert "could not be copied" in caplog.text
