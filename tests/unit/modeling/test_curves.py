"""Curves: live, replayed after a kill up to the step that training resumes from, and never of a number that is none."""

from __future__ import annotations

import json
import logging

import pytest

from retort.errors import StorageError, TrainingError
from retort.modeling.curves import Curves


@pytest.fixture(autouse=True)
def _quiet():
    logging.getLogger("dvclive").setLevel(logging.ERROR)


@pytest.fixture
def places(tmp_path):
    (tmp_path / "state").mkdir()
    return tmp_path / "curves", tmp_path / "state"


def rows(folder, name):
    """The table that DVCLive writes for a figure, as (step, value)."""
    lines = (folder / f"plots/metrics/{name}.tsv").read_text().splitlines()
    assert lines[0].split("\t") == ["step", name]
    return [(int(step), float(value)) for step, value in (line.split("\t") for line in lines[1:])]


def test_figures_are_on_disk_as_soon_as_they_are_logged(places):
    curves = Curves(*places)
    curves.log(1, loss=0.5)
    assert rows(places[0], "loss") == [(1, 0.5)]
    curves.log(2, loss=0.25, auc=0.75)
    assert rows(places[0], "loss") == [(1, 0.5), (2, 0.25)]
    assert rows(places[0], "auc") == [(2, 0.75)]
    assert json.loads((places[0] / "metrics.json").read_text()) == {"step": 2, "loss": 0.25, "auc": 0.75}


def test_a_resumed_run_replays_up_to_its_step_and_no_further(places):
    curves = Curves(*places)
    for step in (1, 2, 3):
        curves.log(step, loss=1 / step)
    curves = Curves(*places, resume_step=2)
    assert rows(places[0], "loss") == [(1, 1.0), (2, 0.5)]
    curves.log(3, loss=0.125)
    assert rows(places[0], "loss") == [(1, 1.0), (2, 0.5), (3, 0.125)]
    # Nor does a second resumption find what the first had dropped.
    Curves(*places, resume_step=3)
    assert rows(places[0], "loss") == [(1, 1.0), (2, 0.5), (3, 0.125)]


def test_an_interrupted_run_leaves_the_bytes_of_an_uninterrupted_one(tmp_path):
    for name, kill in (("whole", None), ("killed", 3)):
        folder, state = tmp_path / name, tmp_path / f"{name}-state"
        state.mkdir()
        curves = Curves(folder, state)
        for step in range(5 if kill is None else kill):
            curves.log(step, loss=1 / (step + 3))
        if kill is not None:
            curves = Curves(folder, state, resume_step=1)
            for step in range(2, 5):
                curves.log(step, loss=1 / (step + 3))
    files = {
        name: {p.relative_to(tmp_path / name): p.read_bytes() for p in (tmp_path / name).rglob("*") if p.is_file()}
        for name in ("whole", "killed")
    }
    assert files["whole"] == files["killed"]


def test_a_new_run_forgets_the_rows_of_a_finished_one_and_its_files(places):
    curves = Curves(*places)
    curves.log(1, old=0.5)
    curves = Curves(*places)
    curves.log(1, new=0.25)
    assert not (places[0] / "plots/metrics/old.tsv").exists()
    assert rows(places[0], "new") == [(1, 0.25)]


def test_a_last_line_that_a_kill_cut_in_half_is_dropped(places):
    curves = Curves(*places)
    curves.log(1, loss=0.5)
    with (places[1] / "curves.jsonl").open("a") as stream:
        stream.write('{"step": 2, "figu')
    curves = Curves(*places, resume_step=2)
    assert rows(places[0], "loss") == [(1, 0.5)]
    curves.log(2, loss=0.25)
    Curves(*places, resume_step=2)
    assert rows(places[0], "loss") == [(1, 0.5), (2, 0.25)]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_finite_number_is_refused_and_not_written(places, value):
    curves = Curves(*places)
    curves.log(1, loss=0.5)
    with pytest.raises(TrainingError, match=rf"loss is {value} at step 2\. Lower the learning rate"):
        curves.log(2, auc=0.5, loss=value)
    assert rows(places[0], "loss") == [(1, 0.5)]
    assert not (places[0] / "plots/metrics/auc.tsv").exists()


def test_a_full_disk_is_a_storage_error(places, limit_file_size):
    curves = Curves(*places)
    curves.log(1, loss=0.5)
    with limit_file_size(10), pytest.raises(StorageError, match=r"curves\.jsonl: could not be written.*Free space"):
        curves.log(2, loss=0.25)
