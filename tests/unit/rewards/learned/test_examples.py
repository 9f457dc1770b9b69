"""The reward model's examples: a chunk in memory at a time, the rest in a file that nobody can find or leave behind."""

from __future__ import annotations

import weakref

import pytest
import torch

from retort.errors import ModelError, StorageError
from retort.rewards.learned import examples as module
from retort.rewards.learned.examples import prepare


class Row(dict):
    """A row that can be watched."""


def test_examples_too_long_for_the_trunk_are_left_out_with_everything_of_theirs(make_reward, rows, tmp_path):
    model = make_reward()
    long = rows(2)[1] | {"response": "1 2 3 4 5 6 7 8 9 " * 5}
    found = prepare(model, [rows(2)[0], long, rows(2)[1]], 32, folder=tmp_path)
    assert [row["label"] for row in found.rows] == [0, 1]
    assert (len(found), len(found.tokens), found.features.shape[0], found.labels.tolist()) == (2, 2, 2, [0, 1])
    lone = prepare(model, [rows(2)[1]], 32, folder=tmp_path)
    torch.testing.assert_close(found.features[1], lone.features[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("every_token", [False, True])
@pytest.mark.parametrize("bound", [{"CHUNK_ROWS": 3}, {"CHUNK_CHARACTERS": 25}])
def test_examples_are_the_same_however_many_are_in_memory(make_reward, rows, tmp_path, monkeypatch, every_token, bound):
    model, given = make_reward(), rows(10)
    whole = prepare(model, given, 64, folder=tmp_path, every_token=every_token)
    for name, value in bound.items():
        monkeypatch.setattr(module, name, value)
    parts = prepare(model, iter(given), 64, folder=tmp_path, every_token=every_token)
    assert list(parts.rows) == list(whole.rows) == given
    assert list(parts.tokens) == list(whole.tokens) == [model.encode(*_text(row)) for row in given]
    assert parts.labels.tolist() == [float(row["label"]) for row in given]
    torch.testing.assert_close(parts.features, whole.features, atol=1e-5, rtol=0)
    assert (parts.token_features is not None) == every_token
    if every_token:
        for mine, other, row in zip(parts.token_features, whole.token_features, parts.features, strict=True):
            torch.testing.assert_close(mine, other, atol=1e-5, rtol=0)
            assert torch.equal(mine[-1], row)


@pytest.mark.parametrize(("bound", "value"), [("CHUNK_ROWS", 4), ("CHUNK_CHARACTERS", 4 * len("so #### 46"))])
def test_no_more_than_a_chunk_of_rows_is_alive(make_reward, rows, tmp_path, monkeypatch, bound, value):
    monkeypatch.setattr(module, bound, value)
    alive, most = weakref.WeakSet(), 0

    class Watched(Row):
        __hash__ = object.__hash__

    def read():
        nonlocal most
        for row in rows(40):
            watched = Watched(row)
            alive.add(watched)
            most = max(most, len(alive))
            yield watched

    found = prepare(make_reward(), read(), 64, folder=tmp_path)
    assert len(found) == 40
    assert 4 <= most <= 2 * 4 + 1  # the chunk that is computed, and what is read for the next


def test_a_choice_of_examples_keeps_their_parts_together(make_reward, rows, tmp_path):
    found = prepare(make_reward(), rows(8), 64, folder=tmp_path, every_token=True)
    some = found.only([5, 2, 2]).only([0, 2])
    assert list(some.rows) == [rows(8)[5], rows(8)[2]]
    assert some.labels.tolist() == [1.0, 0.0]
    assert list(some.tokens) == [found.tokens[5], found.tokens[2]]
    assert torch.equal(some.features, found.features[[5, 2]])
    assert torch.equal(some.token_features[1], found.token_features[2])
    assert some.response_lengths.tolist() == [len(found.tokens[5][1]), len(found.tokens[2][1])]
    assert some.prompt_lengths.tolist() == [len(found.tokens[5][0]), len(found.tokens[2][0])]
    assert list(found.rows[2:4]) == rows(8)[2:4]


def test_no_example_is_no_error(make_reward, tmp_path):
    found = prepare(make_reward(), [], 64, folder=tmp_path)
    assert (len(found), list(found.rows), found.token_features) == (0, [], None)
    assert found.response_lengths.tolist() == []


def test_the_file_has_no_name_that_could_be_left_behind(make_reward, rows, tmp_path):
    folder = tmp_path / "state"
    folder.mkdir()
    found = prepare(make_reward(), rows(4), 64, folder=folder)
    assert list(folder.iterdir()) == []
    assert list(found.rows) == rows(4)


def test_a_full_disk_is_said_with_its_folder(make_reward, rows, tmp_path, limit_file_size):
    model = make_reward()
    with limit_file_size(2_000), pytest.raises(StorageError, match=rf"{tmp_path}: .*cannot be written.*Make room"):
        prepare(model, rows(60), 64, folder=tmp_path)
    assert not [file for file in tmp_path.iterdir() if file.is_file()]


def test_a_likelihood_that_is_no_number_names_its_response(make_reward, rows, tmp_path):
    model = make_reward()
    model.likelihood_models["teacher"].model.get_input_embeddings().weight[7] = torch.nan
    with pytest.raises(ModelError, match=r"response '.*' to prompt 'p\d+' under teacher or sft is no finite number"):
        prepare(model, rows(20), 64, folder=tmp_path)


def _text(row):
    return row["prompt"], row["response"], row["finished"]
