"""Stage `distillation`: the student comes to the teacher's distribution; a teacher of other tokens is refused."""

from __future__ import annotations

import pytest
import torch

from retort.errors import ModelError
from retort.io.files import content_hash
from retort.modeling.chat import prompt_ids
from retort.modeling.loading import load_model, load_tokenizer
from retort.run.stage import read_task, run_stage
from retort.trainers.shared import course

DISTILLED = {"student": "close"}
QUICK = {
    "iterations": 6,
    "prompts_per_iteration": 4,
    "max_new_tokens": 8,
    "learning_rate": 1e-2,
    "evaluate_every": 2,
    "checkpoint_every": 2,
}


@pytest.fixture
def root(training_root):
    """`root(name, **settings)`: a workspace whose student learns the teacher's logits."""

    def make(name="ws", *, models=None, **settings):
        changes = {} if models is None else {"models": models}
        students = {"close": {"method": "distillation", "from": "sft"}}
        return training_root(name, students=students, distillation=QUICK | settings, **changes)

    return make


def divergence(root, name):
    """Mean KL from the student's first next-token distribution to the teacher's, over the training prompts."""
    found = []
    for n in range(12):
        scores = []
        for model in (name, "teacher"):
            folder = root / f"outputs/models/{model}"
            ids = prompt_ids(load_tokenizer(folder), f"{n} + {n} ?")
            with torch.no_grad():
                scores.append(load_model(folder)(torch.tensor([ids])).logits[0, -1].log_softmax(-1))
        found.append(float((scores[0].exp() * (scores[0] - scores[1])).sum()))
    return sum(found) / len(found)


@pytest.mark.parametrize("way", [0.0, 1.0])
def test_the_student_comes_to_the_teacher_s_distribution(root, way):
    made = root(iterations=40, keep="last", divergence=way, checkpoint_every=40)
    metrics = run_stage("distillation", DISTILLED, made)
    assert divergence(made, "close") < 0.6 * divergence(made, "sft")
    assert (metrics["iterations"], metrics["episodes"]) == (40, 160)
    # 2 to sample, 6 to train, 2 of the teacher's, which is as large.
    assert metrics["flops"] == pytest.approx(10 * 9808 * metrics["tokens"])
    task = read_task("distillation", DISTILLED, made)[0]
    assert "outputs/models/teacher" in {*task.deps} & {*task.loads}
    assert "outputs/votes" not in task.deps


def test_a_killed_training_that_is_started_again_equals_an_uninterrupted_one(root, monkeypatch):
    whole, killed = root("whole", micro_batch_size=2), root("killed", micro_batch_size=2)
    run_stage("distillation", DISTILLED, whole)
    honest, seen = course.Progress.update, []

    def update(self, count=1, **figures):
        seen.append(count)
        if len(seen) == 5:
            raise KeyboardInterrupt
        honest(self, count, **figures)

    monkeypatch.setattr(course.Progress, "update", update)
    with pytest.raises(KeyboardInterrupt):
        run_stage("distillation", DISTILLED, killed)
    monkeypatch.setattr(course.Progress, "update", honest)
    assert (killed / ".retort/state/distillation-close/checkpoints/checkpoint-4/trainer_state.json").exists()
    run_stage("distillation", DISTILLED, killed)
    for part in ("outputs/models/close", "metrics/distillation-close.json", "curves/close"):
        assert content_hash(killed / part) == content_hash(whole / part), part


def test_a_teacher_that_reads_other_tokens_is_refused(root):
    made = root()
    tokenizer = load_tokenizer(made / "outputs/models/teacher")
    tokenizer.add_tokens(["hello"])
    tokenizer.save_pretrained(made / "outputs/models/teacher")
    with pytest.raises(ModelError, match=r"students\.close: teacher reads other tokens than sft.*same family"):
        run_stage("distillation", DISTILLED, made)
    assert not (made / "outputs/models/close").exists()


def test_a_teacher_padded_with_rows_that_no_token_has_is_read_without_them(root):
    made = root(iterations=1, keep="last")
    folder = made / "outputs/models/teacher"
    model = load_model(folder)
    model.resize_token_embeddings(model.config.vocab_size + 5)
    model.save_pretrained(folder)
    assert run_stage("distillation", DISTILLED, made)["iterations"] == 1


@pytest.mark.parametrize("engine", [{"type": "openai", "base_url": "http://127.0.0.1:1/v1", "model": "big"}])
def test_an_endpoint_has_no_logits_and_is_refused_when_the_configuration_is_read(root, engine):
    with pytest.raises(
        ValueError, match=r"students\.close: asks for the weights of teacher, which is behind the engine openai"
    ):
        root(models={"teacher": {"engine": engine}, "base": {"source": "data/base"}})
