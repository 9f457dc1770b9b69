"""Best of n: a reward chooses among samples wherever the student answers, and what that took is counted."""

from __future__ import annotations

import json

import pytest

from retort.config.data import SamplingConfig
from retort.engines.base import Request, Response
from retort.errors import ConfigError, TrainingError
from retort.io import tables
from retort.io.files import content_hash
from retort.rewards.own_vote import OwnVoteReward
from retort.run.paths import Paths
from retort.run.stage import run_stage
from retort.trainers.best_of.engine import BestOf
from tests.conftest import write_prompts

BEST = {"student": "best"}


class Recited:
    """An engine that recites: its n-th candidate for a prompt is the n-th of its texts."""

    model, parameters = "recited", 100

    def __init__(self, texts, batch=3):
        self.texts, self.batch, self.asked = texts, batch, []

    def generate(self, requests, sampling, done=()):
        for start in range(0, len(requests), self.batch):
            some = requests[start : start + self.batch]
            if all(one.key in done for one in some):
                continue
            self.asked += [one.key for one in some]
            yield [
                Response(
                    one.prompt_id, one.sample, self.model, one.temperature, one.seed,
                    self.texts[one.sample % len(self.texts)], "stop", 5, 2,
                )
                for one in some
            ]  # fmt: skip

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None


class Longest:
    """Likes long responses."""

    name, flops_per_token = "longest", 20.0

    def score(self, prompts, responses, finished):
        return [float(len(text)) for text in responses]


def answers(inner, reward, requests, done=()):
    with BestOf(inner, lambda: reward, n=4, temperature=0.7) as engine:
        found = [one for batch in engine.generate(requests, SamplingConfig(temperatures=[0.0]), done) for one in batch]
        return engine, {one.prompt_id: one for one in found}


REQUESTS = [Request(f"p{n}", f"{n} + {n} ?", 0, 0.0, seed=n) for n in range(5)]


def test_the_candidate_that_the_reward_likes_best_is_the_answer_and_all_are_paid_for():
    engine, found = answers(Recited(["a", "long", "bb", "more"]), Longest(), REQUESTS)
    assert {one.response for one in found.values()} == {"long"}  # of equal ones the first
    assert len(found) == 5
    one = found["p3"]
    assert (one.sample, one.seed, one.temperature) == (0, 3, 0.0)
    assert (one.prompt_tokens, one.response_tokens) == (20, 8)
    assert engine.parameters == 110  # 2 x parameters a token, and 20 FLOPs of the reward's


def test_by_vote_the_majority_of_the_candidates_answers():
    _, found = answers(
        Recited(["#### 3", "#### 4", "#### 5", "so #### 4"]), OwnVoteReward("own", "number", 0.0), REQUESTS
    )
    assert {one.response for one in found.values()} == {"#### 4"}


def test_what_is_done_is_not_asked_again_unless_its_batch_is_only_partly_done():
    inner = Recited(["a"], batch=4)
    answers(inner, Longest(), REQUESTS, done=[("p1", 0), ("p2", 0)])
    assert {prompt for prompt, _ in inner.asked} == {"p0", "p3", "p4"}


def test_a_reward_that_is_no_number_names_the_response():
    class Broken(Longest):
        def score(self, prompts, responses, finished):
            return [float("nan") if text == "bb" else 1.0 for text in responses]

    with pytest.raises(
        TrainingError, match=r"rewards\.longest: scored nan for the response 'bb' to the prompt '0 \+ 0"
    ):
        answers(Recited(["a", "long", "bb", "more"]), Broken(), REQUESTS)


def test_what_is_no_message_cannot_be_judged_but_can_be_voted_on():
    text = [Request("p", "Q: 1 + 1\nA:", 0, 0.0, seed=1, form="text")]
    with pytest.raises(ConfigError, match=r"rewards\.longest: cannot judge a response to 'p', which is a text"):
        answers(Recited(["#### 2"]), Longest(), text)
    _, found = answers(Recited(["#### 2"]), OwnVoteReward("own", "number", 0.0), text)
    assert found["p"].response == "#### 2"


@pytest.fixture
def root(training_root, tiny_model_folder):
    """A workspace with a student that answers with the best of four, after its own stage."""
    folder = training_root.root("ws")
    folder.mkdir()
    (folder / "my_reward.py").write_text(
        "def score(prompts, responses, finished):\n    return [float(len(text)) for text in responses]\n"
    )
    made = training_root(
        "ws",
        students={"best": {"method": "best_of", "from": "sft", "reward": "mine", "n": 4}},
        rewards={"mine": {"type": "function", "path": "my_reward.py:score"}},
        evaluate={"benchmarks": [{"name": "heldout"}], "max_new_tokens": 8},
    )
    write_prompts(Paths(made), "test", range(20, 26))
    return made


def test_a_benchmark_is_answered_with_the_best_of_n(root):
    metrics = run_stage("best_of", BEST, root)
    assert (metrics["n"], metrics["flops"]) == (4, 0.0)
    weights = "model.safetensors"
    folders = [root / f"outputs/models/{name}" for name in ("sft", "best")]
    assert content_hash(folders[0] / weights) == content_hash(folders[1] / weights)
    plain, best = (run_stage("evaluate", {"model": name, "benchmark": "heldout"}, root) for name in ("sft", "best"))
    assert best["prompt_tokens"] == 4 * plain["prompt_tokens"]
    assert best["flops"] > 2 * plain["flops"]
    rows = {name: tables.read_table(Paths(root).results(name, "heldout"), tables.RESULTS) for name in ("sft", "best")}
    longer = [len(b["response"]) >= len(a["response"]) for a, b in zip(rows["sft"], rows["best"], strict=True)]
    assert sum(longer) >= 4  # the longest of four samples, against one greedy response


def test_a_student_that_a_gate_stopped_answers_plainly(root):
    run_stage("best_of", BEST, root)
    (root / "outputs/models/best/best_of.json").unlink()
    best = run_stage("evaluate", {"model": "best", "benchmark": "heldout"}, root)
    plain = run_stage("evaluate", {"model": "sft", "benchmark": "heldout"}, root)
    assert (best["prompt_tokens"], best["response_tokens"]) == (plain["prompt_tokens"], plain["response_tokens"])
    assert json.dumps(best["accuracy"]) == json.dumps(plain["accuracy"])
