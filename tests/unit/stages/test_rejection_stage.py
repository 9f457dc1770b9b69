"""Stage `rejection`: what a reward likes best is taught, own samples or the teacher's; what is not there is refused."""

from __future__ import annotations

import json

import pytest

from retort.errors import InputError, TrainingError
from retort.io.files import content_hash
from retort.run.stage import read_task, run_stage
from retort.trainers.rejection import method
from retort.trainers.rejection.method import Candidate, select
from retort.trainers.shared import course

REJECTION = {"student": "best"}
QUICK = {
    "steps": 6,
    "batch_size": 4,
    "learning_rate": 1e-2,
    "max_length": 64,
    "checkpoint_steps": 2,
    "samples": 4,
    "max_new_tokens": 12,
}
EVEN = "def score(prompts, responses, finished):\n    return [float(text[-1:] in '02468') for text in responses]\n"


@pytest.fixture
def root(training_root, tiny_model_folder):
    """`root(name, reward=..., **settings)`: a workspace with a student by rejection sampling."""

    def make(name="ws", *, reward=EVEN, own_vote=False, **settings):
        folder = training_root.root(name)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "my_reward.py").write_text(reward)
        made = training_root(
            name,
            students={"best": {"method": "rejection", "from": "sft", "reward": "mine"}},
            rewards={"mine": {"type": "own_vote"} if own_vote else {"type": "function", "path": "my_reward.py:score"}},
            rejection=QUICK | settings,
        )
        tiny_model_folder(seed=2, name=f"{name}/outputs/models/sft", ends=7.0)  # one that ends responses
        return made

    return make


def test_the_best_different_responses_to_each_prompt_are_chosen():
    rows = [("a", "x"), ("a", "y"), ("a", "x"), ("a", "z"), ("b", "x"), ("b", "y")]
    candidates = [Candidate(name, f"question {name}", text) for name, text in rows]
    examples, worth = select(candidates, [0.5, 0.9, 0.5, 0.5, 0.1, 0.2], best=2, least=0.2)
    assert [(one.prompt_id, one.response) for one in examples] == [("a", "y"), ("a", "x"), ("b", "y")]
    assert worth == [0.9, 0.5, 0.2]


def test_the_teacher_s_responses_are_selected_from_where_that_is_asked(root):
    # The right answers are even numbers, the wrong ones odd.
    made = root(source="teacher", min_reward=0.5)
    metrics = run_stage("rejection", REJECTION, made)
    assert (metrics["scored"], metrics["prompts"], metrics["examples"]) == (24, 12, 12)
    assert (metrics["mean_reward"], metrics["taught_reward"]) == (0.5, 1.0)
    assert "outputs/teacher_responses/shard-0.parquet" in read_task("rejection", REJECTION, made)[0].deps


def test_own_samples_need_no_teacher_s(root):
    made = root(max_prompts=5)
    metrics = run_stage("rejection", REJECTION, made)
    assert not [
        path for path in read_task("rejection", REJECTION, made)[0].deps if "teacher" in path or "votes" in path
    ]
    assert 0 < metrics["prompts"] <= 5
    assert metrics["prompts"] <= metrics["scored"] <= 20
    assert metrics["taught_reward"] >= metrics["mean_reward"]
    assert metrics["flops"] > 6 * 9808 * metrics["tokens"]


def test_a_killed_training_that_is_started_again_equals_an_uninterrupted_one_and_samples_once(root, monkeypatch):
    whole, killed = root("whole"), root("killed")
    run_stage("rejection", REJECTION, whole)
    honest = course.Progress.update

    def update(self, count=1, **figures):
        if self.words == "rejection" and self.done == 3:
            raise KeyboardInterrupt
        honest(self, count, **figures)

    monkeypatch.setattr(course.Progress, "update", update)
    with pytest.raises(KeyboardInterrupt):
        run_stage("rejection", REJECTION, killed)
    monkeypatch.setattr(course.Progress, "update", honest)
    log = killed / ".retort/state/rejection-best/samples.jsonl"
    before = log.read_bytes()
    assert len(before.splitlines()) == 48
    monkeypatch.setenv("RETORT_KEEP_STATE", "1")
    run_stage("rejection", REJECTION, killed)
    assert log.read_bytes() == before
    for part in ("outputs/models/best", "metrics/rejection-best.json", "curves/best"):
        assert content_hash(killed / part) == content_hash(whole / part), part


def test_a_reward_that_nothing_reaches_is_refused_with_the_best_there_is(root):
    made = root(source="teacher", min_reward=2.0)
    with pytest.raises(
        InputError, match=r"students\.best: none of 24 .* worth min_reward 2\.0; the best is worth 1.*Lower"
    ):
        run_stage("rejection", REJECTION, made)
    assert not (made / "outputs/models/best").exists()


def test_a_reward_that_is_not_finite_names_the_response(root):
    made = root(source="teacher", reward=EVEN.replace("float(", "float('nan') if text == '#### 7' else float("))
    with pytest.raises(
        TrainingError, match=r"rewards\.mine: scored nan for the response '#### 7' to the prompt '3 \+ 3"
    ):
        run_stage("rejection", REJECTION, made)


def test_the_majority_of_own_samples_teaches_without_any_teacher(root, monkeypatch):
    texts = ["#### 4", "#### 4", "#### 5", "#### 6"]
    sampled = [Candidate(f"p{n}", f"{n} + {n} ?", text) for n in range(12) for text in texts]
    monkeypatch.setattr(method, "_own", lambda _: (sampled, 0.0))
    metrics = run_stage("rejection", REJECTION, root(own_vote=True, min_reward=1.0, steps=40))
    assert (metrics["scored"], metrics["examples"], metrics["mean_reward"]) == (48, 12, 0.5)
    assert json.dumps(metrics["taught_reward"]) == "1.0"
    assert metrics["loss"] < 0.5  # it has learned to say what most of its samples said
