"""Supervised fine-tuning through TRL: what is learned on, resuming, and what is refused."""

from __future__ import annotations

import logging

import pytest

from retort.config.training import SFTConfig
from retort.errors import StorageError, TrainingError
from retort.io.files import content_hash
from retort.modeling.loading import model_size
from retort.trainers.sft.examples import Example
from retort.trainers.sft.train import tokenize, train_sft
from retort.trainers.shared import course
from retort.trainers.shared.arguments import log_every, micro_batch
from retort.trainers.shared.course import last_checkpoint

EXAMPLES = [Example(f"p{n}", f"{n} + {n} ?", f"#### {2 * n}") for n in range(12)]


@pytest.fixture(autouse=True)
def _quiet():
    logging.getLogger("dvclive").setLevel(logging.ERROR)


@pytest.fixture
def sft(tmp_path, tiny_model_folder):
    """`sft(name, **settings)`: fine-tunes the tiny Llama into tmp_path/NAME."""
    base = tiny_model_folder(name="base")

    def run(name="out", *, examples=EXAMPLES, extra_flops=0.0, max_extra_steps=None, **settings):
        state = tmp_path / f"{name}-state"
        state.mkdir(exist_ok=True)
        plain = {"steps": 8, "batch_size": 4, "learning_rate": 1e-2, "max_length": 64, "checkpoint_steps": 3}
        return train_sft(
            base,
            examples,
            SFTConfig(**(plain | settings)),
            extra_flops=extra_flops,
            max_extra_steps=max_extra_steps,
            seed=0,
            state=state,
            curves_folder=tmp_path / f"{name}-curves",
            out=tmp_path / name,
        )

    run.root, run.base = tmp_path, base
    return run


def losses(root, name="out"):
    lines = (root / f"{name}-curves/plots/metrics/loss.tsv").read_text().splitlines()[1:]
    return [float(line.split("\t")[1]) for line in lines]


def test_only_response_tokens_count_the_end_token_among_them(tiny_tokenizer):
    row = tokenize(tiny_tokenizer, EXAMPLES[6:7], 64)[0]
    text = [tiny_tokenizer.decode([token]) for token in row["input_ids"]]
    assert "".join(text) == "<|user|>6 + 6 ?<|assistant|>#### 12<|end|>"
    counted = [piece for piece, mask in zip(text, row["completion_mask"], strict=True) if mask]
    assert "".join(counted) == "#### 12<|end|>"


def test_examples_longer_than_the_limit_are_left_out_and_not_cut(tiny_tokenizer):
    lengths = [len(row["input_ids"]) for row in tokenize(tiny_tokenizer, EXAMPLES, 1000)]
    kept = tokenize(tiny_tokenizer, EXAMPLES, min(lengths))
    assert 0 < len(kept) < len(EXAMPLES)
    assert [len(row["input_ids"]) for row in kept] == [n for n in lengths if n == min(lengths)]


def test_the_loss_goes_down_and_the_figures_are_what_was_done(sft):
    found = sft(steps=30)
    course = losses(sft.root)
    assert len(course) == 30
    assert course[-1] < 0.5 * course[0]
    assert found.loss == pytest.approx(sum(course[-3:]) / 3, rel=1e-4)
    assert (found.steps, found.examples, found.too_long) == (30, 12, 0)
    from retort.modeling.loading import load_model, load_tokenizer

    lengths = [len(row["input_ids"]) for row in tokenize(load_tokenizer(sft.root / "out"), EXAMPLES, 64)]
    # 30 steps of 4 examples of mean length; 6 x parameters x tokens.
    assert found.tokens == round(30 * 4 * sum(lengths) / 12)
    assert found.flops == 6 * model_size(load_model(sft.base)) * found.tokens


@pytest.mark.parametrize("dies", [5, 8])
def test_a_killed_training_that_is_started_again_equals_an_uninterrupted_one(sft, monkeypatch, dies):
    whole = sft("whole")
    honest, seen = course.Progress.update, []

    def update(self, count=1, **figures):
        seen.append(count)
        if len(seen) == dies:
            raise KeyboardInterrupt
        honest(self, count, **figures)

    monkeypatch.setattr(course.Progress, "update", update)
    with pytest.raises(KeyboardInterrupt):
        sft("killed")
    assert not (sft.root / "killed").exists()
    monkeypatch.setattr(course.Progress, "update", honest)
    kept = last_checkpoint(sft.root / "killed-state/checkpoints")
    assert kept.name == ("checkpoint-3" if dies == 5 else "checkpoint-6")
    assert sft("killed") == whole
    for part in ("", "-curves"):
        assert content_hash(sft.root / f"killed{part}") == content_hash(sft.root / f"whole{part}")


@pytest.mark.parametrize(
    ("steps", "checkpoint_steps", "expected"),
    [(40, 20, 1), (400, 20, 4), (300, 20, 2), (1200, 100, 10), (1200, 7, 7), (1100, 7, 7), (500, 7, 1)],
)
def test_no_logged_loss_spans_a_checkpoint(steps, checkpoint_steps, expected):
    assert log_every(steps, checkpoint_steps) == expected


def test_a_training_killed_after_its_last_step_only_writes_the_student(sft, monkeypatch):
    whole = sft("whole", steps=3)
    monkeypatch.setattr(course, "save_full", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        sft("killed", steps=3)
    monkeypatch.undo()
    assert last_checkpoint(sft.root / "killed-state/checkpoints").name == "checkpoint-3"
    assert sft("killed", steps=3) == whole
    assert content_hash(sft.root / "killed") == content_hash(sft.root / "whole")


def test_accumulated_microbatches_equal_a_whole_batch(sft):
    whole, parts = sft("whole", steps=3), sft("parts", steps=3, micro_batch_size=1)
    # Rows of different length: a mean of means would weigh their tokens unequally.
    assert losses(sft.root, "parts") == pytest.approx(losses(sft.root, "whole"), rel=1e-3)
    assert whole.tokens == parts.tokens


def test_a_checkpoint_that_is_not_whole_is_passed_over(tmp_path):
    for step in (3, 20, 100):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if step != 100:
            (tmp_path / f"checkpoint-{step}/trainer_state.json").write_text("{}")
    assert last_checkpoint(tmp_path).name == "checkpoint-20"
    assert last_checkpoint(tmp_path / "nothing") is None


def test_a_loss_that_is_not_a_number_stops_training_and_writes_no_student(sft):
    with pytest.raises(TrainingError, match=r"is nan at step \d+\. Lower the learning rate"):
        sft(learning_rate=1e30, max_grad_norm=1e30)
    assert not (sft.root / "out").exists()


def test_weights_that_are_no_numbers_are_not_written_whatever_the_loss_said(sft):
    # One step: its loss is that of the untouched base, its weights are beyond any float.
    with pytest.raises(TrainingError, match="a weight is not a finite number after 1 steps"):
        sft(steps=1, learning_rate=1e39)
    assert not (sft.root / "out").exists()


def test_examples_that_are_all_too_long_name_the_setting(sft):
    with pytest.raises(TrainingError, match=r"none of the 12 examples has at most 8 tokens\. Raise sft\.max_length"):
        sft(max_length=8)


def test_a_full_disk_is_a_storage_error_and_the_last_checkpoint_is_kept(sft, monkeypatch, limit_file_size):
    honest, seen = course.Progress.update, []

    def update(self, count=1, **figures):
        honest(self, count, **figures)
        seen.append(limited := limit_file_size(5000))
        if len(seen) == 4:
            limited.__enter__()

    monkeypatch.setattr(course.Progress, "update", update)
    try:
        with pytest.raises(StorageError, match=r"out-state: could not be written.*goes on from its last checkpoint"):
            sft()
    finally:
        seen[3].__exit__(None, None, None)
    assert not (sft.root / "out").exists()
    assert last_checkpoint(sft.root / "out-state/checkpoints").name == "checkpoint-3"


@pytest.mark.parametrize(("most", "steps", "capped"), [(None, 5, False), (2, 5, False), (1, 4, True)])
def test_compute_buys_as_many_more_steps_as_it_costs_up_to_the_bound(sft, most, steps, capped):
    a_step = sft("alone", steps=1).flops
    found = sft("more", steps=3, extra_flops=2.3 * a_step, max_extra_steps=most)
    assert (found.steps, found.capped) == (steps, capped)
    assert found.flops == pytest.approx(steps * a_step, rel=1e-2)
    assert len(losses(sft.root, "more")) == steps


@pytest.mark.parametrize(
    ("batch", "micro", "processes", "expected"), [(64, None, 1, 64), (64, 8, 2, 8), (12, 8, 1, 6), (12, 4, 4, 3)]
)
def test_passes_add_up_to_the_batch(batch, micro, processes, expected):
    assert micro_batch(batch, micro, processes, "sft.batch_size") == expected


def test_a_batch_that_processes_cannot_share_is_refused():
    with pytest.raises(TrainingError, match=r"sft\.batch_size 10 cannot be shared by 4 processes"):
        micro_batch(10, None, 4, "sft.batch_size")
