"""Checkpoints: whole or not at all, the one before kept, the random generators restored."""

from __future__ import annotations

import random

import pytest
import torch

from retort.errors import StorageError
from retort.modeling.checkpoint import Checkpoints


def test_what_was_saved_is_loaded_and_the_random_generators_go_on_from_there(tmp_path):
    checkpoints = Checkpoints(tmp_path / "state")
    assert checkpoints.load() is None
    torch.manual_seed(1)
    random.seed(1)
    checkpoints.save(3, {"weights": torch.arange(3), "step": 3})
    expected = torch.rand(4).tolist(), [random.random() for _ in range(4)]
    torch.manual_seed(2)
    random.seed(2)
    payload = checkpoints.load()
    assert payload["step"] == 3
    assert payload["weights"].tolist() == [0, 1, 2]
    assert (torch.rand(4).tolist(), [random.random() for _ in range(4)]) == expected


def test_the_newest_by_number_is_loaded_and_older_ones_are_pruned(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for step in (2, 9, 10, 100):
        checkpoints.save(step, {"step": step})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000010.pt", "step-00000100.pt"]
    assert checkpoints.load() == {"step": 100}


def damage(how, file):
    whole = file.read_bytes()
    damaged = {
        "empty": b"",
        "half": whole[: len(whole) // 2],
        "text": b"this is no checkpoint at all",
        "zeros": bytes(len(whole)),
    }
    if how == "foreign":
        torch.save({"something": "else"}, file)
    else:
        file.write_bytes(damaged[how])


@pytest.mark.parametrize("how", ["empty", "half", "text", "zeros", "foreign"])
def test_a_damaged_newest_file_is_passed_over_for_the_one_before_it_and_a_line_says_so(tmp_path, how, caplog):
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save(step, {"step": step, "weights": torch.zeros(100)})
    assert checkpoints.load()["step"] == 2
    assert caplog.messages == []
    damage(how, tmp_path / "step-00000002.pt")
    assert checkpoints.load()["step"] == 1
    passed_over, goes_on = caplog.messages
    assert "step-00000002.pt: is damaged and passed over (" in passed_over
    assert "step-00000001.pt: training goes on from this checkpoint, the newest whole one" in goes_on
    damage(how, tmp_path / "step-00000001.pt")
    assert checkpoints.load() is None
    assert caplog.messages[-1] == f"{tmp_path}: no checkpoint there is whole: training starts over"


def test_a_checkpoint_that_could_not_be_written_leaves_the_ones_before(tmp_path, limit_file_size):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"step": 1})
    with limit_file_size(100_000), pytest.raises(StorageError, match=r"step-00000002\.pt: could not be written.*Free"):
        checkpoints.save(2, {"step": 2, "weights": torch.zeros(100_000)})
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001.pt"]
    assert checkpoints.load() == {"step": 1}
