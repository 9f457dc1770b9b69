"""Stage `dpo`: agreeing responses become likelier than disagreeing ones; what has no pair is refused; it resumes."""

from __future__ import annotations

import pytest
import torch

from retort.errors import InputError
from retort.io import tables
from retort.io.files import content_hash
from retort.modeling.chat import prompt_ids, response_ids
from retort.modeling.loading import load_model, load_tokenizer
from retort.run.paths import Paths
from retort.run.stage import run_stage
from retort.trainers.shared import course

DPO = {"student": "dpo"}
ENTRY = {"method": "dpo", "from": "sft"}
QUICK = {"steps": 12, "batch_size": 6, "learning_rate": 3e-3, "max_length": 64, "checkpoint_steps": 3}


@pytest.fixture
def root(training_root):
    """`root(name, **settings)`: a workspace whose student is trained by DPO."""

    def make(name="ws", **settings):
        return training_root(name, students={"dpo": ENTRY}, dpo=QUICK | settings)

    return make


def margins(root, name):
    """By how much the right responses are likelier than the wrong ones, in nats, for each training prompt."""
    folder = root / f"outputs/models/{name}"
    tokenizer, model = load_tokenizer(folder), load_model(folder)
    found = []
    for n in range(12):
        prompt = prompt_ids(tokenizer, f"{n} + {n} ?")
        scores = []
        for answer in (2 * n, 2 * n + 1):
            response = response_ids(tokenizer, f"#### {answer}")
            with torch.no_grad():
                logits = model(torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
            scores.append(float(logits.log_softmax(-1).gather(1, torch.tensor(response)[:, None]).sum()))
        found.append(scores[0] - scores[1])
    return torch.tensor(found)


def test_agreeing_responses_become_likelier_than_disagreeing_ones(root):
    made = root(steps=30)
    metrics = run_stage("dpo", DPO, made)
    # Twelve prompts with one right and one wrong response each.
    assert (metrics["pairs"], metrics["prompts"], metrics["all_agree"], metrics["none_agrees"]) == (12, 12, 0, 0)
    gained = margins(made, "dpo") - margins(made, "sft")
    assert float(gained.mean()) > 3
    assert bool((gained > 0).all())
    assert metrics["preferred"] > 0.95
    assert metrics["flops"] == pytest.approx(8 * 9808 * metrics["tokens"])
    assert {path.stem for path in (made / "curves/dpo/plots/metrics").iterdir()} >= {"loss", "preferred", "margin"}


@pytest.mark.parametrize("dies", [5, 11])
def test_a_killed_training_that_is_started_again_equals_an_uninterrupted_one(root, monkeypatch, dies):
    whole, killed = root("whole"), root("killed")
    run_stage("dpo", DPO, whole)
    honest, seen = course.Progress.update, []

    def update(self, count=1, **figures):
        seen.append(count)
        if len(seen) == dies:
            raise KeyboardInterrupt
        honest(self, count, **figures)

    monkeypatch.setattr(course.Progress, "update", update)
    with pytest.raises(KeyboardInterrupt):
        run_stage("dpo", DPO, killed)
    monkeypatch.setattr(course.Progress, "update", honest)
    assert list((killed / ".retort/state/dpo-dpo/checkpoints").glob("checkpoint-*/trainer_state.json"))
    run_stage("dpo", DPO, killed)
    for part in ("outputs/models/dpo", "metrics/dpo-dpo.json", "curves/dpo"):
        assert content_hash(killed / part) == content_hash(whole / part)


@pytest.mark.parametrize(
    ("sample", "words"),
    [(0, "of 12 prompts all whole responses agree with the vote, of 0 none does"), (1, "of 0 .* of 12 none does")],
)
def test_where_all_responses_to_a_prompt_are_of_one_kind_there_is_no_pair(root, sample, words):
    made = root()
    for shard in (0, 1):
        file = Paths(made).responses("teacher", shard)
        rows = [row for row in tables.read_table(file, tables.RESPONSES) if row["sample"] == sample]
        tables.write_table(file, rows, tables.RESPONSES)
    with pytest.raises(InputError, match=rf"no pair for students\.dpo: {words}.*teacher_responses\.samples"):
        run_stage("dpo", DPO, made)
    assert not (made / "outputs/models/dpo").exists()


def test_adapters_alone_are_trained_and_a_whole_model_comes_out(root):
    made = root(lora={"rank": 2, "alpha": 4}, learning_rate=0.05)
    run_stage("dpo", DPO, made)
    assert float((margins(made, "dpo") - margins(made, "sft")).mean()) > 1


def test_another_student_s_compute_buys_steps(training_root):
    more = ENTRY | {"compute_of": "first"}
    made = training_root(students={"first": ENTRY, "dpo": more}, dpo=QUICK | {"steps": 4})
    run_stage("dpo", {"student": "first"}, made)
    found = run_stage("dpo", DPO, made)
    assert (found["extra_steps"], found["capped"]) == (4, False)
    bound = training_root(
        "bound", students={"first": ENTRY, "dpo": more | {"max_extra_steps": 1}}, dpo=QUICK | {"steps": 4}
    )
    run_stage("dpo", {"student": "first"}, bound)
    found = run_stage("dpo", DPO, bound)
    assert (found["extra_steps"], found["capped"]) == (1, True)
