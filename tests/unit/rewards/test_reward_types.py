"""Rewards without a reward model, each through PPO on a tiny model: what is scored, and what is refused."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from retort.errors import ConfigError, EngineError, TrainingError
from retort.io import tables
from retort.rewards import endpoint, judge, vote
from retort.run.paths import Paths
from retort.run.stage import context_of, read_task, run_stage
from retort.stages.train import load_reward
from tests.unit.judge.stand_ins import Scripted, grades, prefers

PPO = {"student": "ppo"}
JUDGE = {"model": {"engine": {"type": "recorded", "path": "unused.jsonl"}}}
PLAIN = {"ppo": {"missing_eos_penalty": 0.0}}
"""Rewards of the curves are the scores themselves then."""


@pytest.fixture
def against(training_root, tiny_model_folder):
    """`against({...}, **sections)`: a workspace whose student, which ends some responses, is trained against this."""

    def make(reward, name="ws", **sections):
        students = {"ppo": {"method": "ppo", "from": "sft", "reward": "given"}}
        root = training_root(name, students=students, rewards={"given": reward}, **PLAIN | sections)
        tiny_model_folder(seed=2, name=f"{name}/outputs/models/sft", ends=7.0)
        return root

    return make


def curve(root, name="reward"):
    lines = (root / f"curves/ppo/plots/metrics/{name}.tsv").read_text().splitlines()[1:]
    return [float(line.split("\t")[1]) for line in lines]


def loaded(root):
    return load_reward(context_of("ppo", PPO, root), "given", "sft")


# The vote


def test_the_vote_pays_for_a_finished_response_with_the_label(against):
    root = against({"type": "vote", "unlabelled": 0.25})
    votes = tables.read_table(Paths(root).votes, tables.VOTES)
    tables.write_table(Paths(root).votes, [v | {"abstained": v["prompt_id"] == "p2"} for v in votes], tables.VOTES)
    prompts = ["1 + 1 ?", "1 + 1 ?", "1 + 1 ?", "1 + 1 ?", "13 + 13 ?", "2 + 2 ?"]
    responses = ["#### 2", "it is 2.0", "#### 3", "#### 2", "#### 26", "#### 4"]
    finished = [True, True, True, False, True, True]
    assert loaded(root).score(prompts, responses, finished).tolist() == [1.0, 1.0, 0.0, 0.0, 1.0, 0.25]


def test_ppo_trains_against_the_vote_without_any_reward_model(against, monkeypatch):
    root = against({"type": "vote"})
    honest, seen = vote.VoteReward.score, []
    monkeypatch.setattr(vote.VoteReward, "score", lambda *given: seen.append(honest(*given)) or seen[-1])
    task = read_task("ppo", PPO, root)[0]
    assert not [path for path in task.deps if "reward" in path]
    metrics = run_stage("ppo", PPO, root)
    assert (metrics["iterations"], metrics["episodes"]) == (2, 16)
    assert curve(root) == pytest.approx([float(scores.mean()) for scores in seen])
    assert (root / "outputs/models/ppo/model.safetensors").exists()


# A judge


@pytest.fixture
def say(monkeypatch):
    def set_judge(function):
        engine = Scripted(function)
        engine.ended = 0
        monkeypatch.setattr(Scripted, "__exit__", lambda self, *_: setattr(self, "ended", self.ended + 1))
        monkeypatch.setattr(judge, "judge_engine", lambda *_, **__: engine)
        return engine

    return set_judge


def test_a_judge_s_verdict_against_the_elected_response_is_the_reward(against, say):
    root = against({"type": "judge", "undecided": 0.4}, judge=JUDGE)
    say(prefers(len))
    reward = loaded(root)
    # Labels are "2" and so on: a longer text is preferred, one of equal length ties, one that was cut off gets nothing.
    found = reward.score(["1 + 1 ?"] * 4, ["long", "7", "", "longer"], [True, True, True, False])
    assert found.tolist() == [1.0, 0.5, 0.0, 0.0]
    say(lambda *_: "no verdict at all")
    assert loaded(root).score(["1 + 1 ?"], ["other"], [True]).tolist() == pytest.approx([0.4])


def test_a_grade_is_paid_as_its_share_of_the_scale(against, say):
    root = against({"type": "judge"}, judge=JUDGE | {"method": "rubric", "scale": 5, "threshold": 3})
    say(grades(len))
    assert loaded(root).score(["1 + 1 ?"] * 3, ["1", "123", "12345"], [True] * 3).tolist() == [0.0, 0.5, 1.0]


def test_ppo_trains_against_a_judge_and_asks_no_judgement_twice(against, say):
    root = against({"type": "judge"}, judge=JUDGE)
    seen = []

    def stand_in(system, user):
        seen.append(user)
        return prefers(len)(system, user)

    engine = say(stand_in)
    metrics = run_stage("ppo", PPO, root)
    assert engine.ended == 1
    assert metrics["iterations"] == 2
    assert all(0 <= value <= 1 for value in curve(root))
    assert len(seen) == len(set(seen)) > 0


# An endpoint


class Server(ThreadingHTTPServer):
    """Answers with what `answers` hold, one after another, then with the share of each response that is not digits."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers, self.asked, self.keys = [], [], []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/score"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(body)
        self.server.keys.append(self.headers.get("Authorization"))
        status, answer = 200, json.dumps({"scores": [len(text) / 10 for text in body["responses"]]})
        if self.server.answers:
            status, answer = self.server.answers.pop(0)
        data = answer.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(endpoint.time, "sleep", lambda _: None)
    with Server() as one:
        threading.Thread(target=one.serve_forever, daemon=True).start()
        yield one
        one.shutdown()


def test_ppo_trains_against_an_endpoint_that_fails_twice(against, server, monkeypatch):
    monkeypatch.setenv("SCORES_KEY", "secret")
    root = against({"type": "endpoint", "url": server.url, "batch_size": 3, "api_key_env": "SCORES_KEY"})
    server.answers[:] = [(500, "starting"), (503, "still starting")]
    metrics = run_stage("ppo", PPO, root)
    assert metrics["iterations"] == 2
    # Two iterations of eight responses, three a request, and the first request three times.
    assert [len(body["responses"]) for body in server.asked] == [3, 3, 3, 3, 2, 3, 3, 2]
    assert server.asked[0] == server.asked[1] == server.asked[2]
    assert set(server.keys) == {"Bearer secret"}
    lengths = [len(text) / 10 for body in server.asked[2:] for text in body["responses"]]
    assert curve(root) == pytest.approx([sum(lengths[:8]) / 8, sum(lengths[8:]) / 8], rel=1e-5)
    assert all(isinstance(end, bool) for body in server.asked for end in body["finished"])


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        ((200, '{"scores": [0.5]}'), EngineError, r"rewards\.given: http.* gave no 8 scores in 3 attempts; .*200"),
        ((200, "<html>"), EngineError, r"rewards\.given: .* gave no 8 scores in 3 attempts; .*<html>.*one number"),
        ((200, '{"scores": [1, 2, 3, 4, 5, 6, 7, "x"]}'), EngineError, r"gave no 8 scores in 3 attempts"),
        ((200, '{"scores": [1, 2, 3, NaN, 5, 6, 7, 8]}'), TrainingError, r"rewards\.given: scored nan for the resp"),
        ((200, '{"scores": [1, 2, 3, 4, 5, 6, 7, 1e39]}'), TrainingError, r"rewards\.given: scored inf for the resp"),
        ((500, "broken"), EngineError, r"rewards\.given: .* in 3 attempts; the last answered 500: 'broken'"),
        ((401, "who?"), ConfigError, r"rewards\.given\.url: http.* answered 401: 'who\?'"),
    ],
    ids=["wrong count", "no JSON", "no number", "NaN", "beyond float32", "always 500", "refused"],
)
def test_what_an_endpoint_answers_is_one_finite_number_a_response_or_an_error(against, server, answer, error, words):
    root = against({"type": "endpoint", "url": server.url, "max_retries": 2})
    server.answers[:] = [answer] * 20
    with pytest.raises(error, match=words):
        run_stage("ppo", PPO, root)
    assert len(server.asked) == (3 if error is EngineError else 1)
    assert not (root / "outputs/models/ppo").exists()


def test_an_endpoint_that_nobody_serves_and_a_key_that_is_not_set_are_named(against, server, monkeypatch):
    url, kind = server.url, {"type": "endpoint", "max_retries": 1}
    monkeypatch.delenv("SCORES_KEY", raising=False)
    root = against(kind | {"url": url, "api_key_env": "SCORES_KEY"})
    with pytest.raises(ConfigError, match=r"rewards\.given\.api_key_env: the environment variable SCORES_KEY is not"):
        run_stage("ppo", PPO, root)
    server.shutdown()
    server.server_close()
    root = against(kind | {"url": url}, name="away")
    with pytest.raises(EngineError, match=r"rewards\.given: .* in 2 attempts; the last ConnectError"):
        run_stage("ppo", PPO, root)


def test_where_an_endpoint_is_and_how_patiently_it_is_asked_decide_nothing(against):
    addressed = [
        against({"type": "endpoint", "model": "v1", **settings}, name=f"at-{number}")
        for number, settings in enumerate(
            ({"url": "http://one/score"}, {"url": "http://two/score", "timeout_s": 5, "max_retries": 1})
        )
    ]
    for address in (("ppo", PPO), ("report", {})):
        one, two = (read_task(*address, root)[0] for root in addressed)
        assert one.params == two.params
        assert not [key for key in one.params if "url" in key or "timeout" in key]
        assert "rewards.given.model" in one.params
    assert "rewards.given.url" in read_task("ppo", PPO, addressed[0])[0].operation


# A function


@pytest.fixture
def function(against):
    """`function(source)`: a workspace with this file of a reward."""

    def make(source, name="score"):
        root = against({"type": "function", "path": f"my_reward.py:{name}"})
        (root / "my_reward.py").write_text(source)
        return root

    return make


def test_ppo_trains_against_a_function_of_a_file(function):
    root = function(
        "import json, pathlib\n"
        "def score(prompts, responses, finished):\n"
        "    found = [len(text) / 7 + end for text, end in zip(responses, finished, strict=True)]\n"
        "    with open(pathlib.Path(__file__).with_name('seen.jsonl'), 'a') as log:\n"
        "        log.write(json.dumps([prompts, found]) + '\\n')\n"
        "    return found\n"
    )
    assert run_stage("ppo", PPO, root)["iterations"] == 2
    seen = [json.loads(line) for line in (root / "seen.jsonl").read_text().splitlines()]
    assert curve(root) == pytest.approx([sum(found) / 8 for _, found in seen], rel=1e-5)
    assert {prompt for prompts, _ in seen for prompt in prompts} <= {f"{n} + {n} ?" for n in range(12)}
    assert "my_reward.py" in read_task("ppo", PPO, root)[0].sources


@pytest.mark.parametrize(
    ("body", "error", "words"),
    [
        ("raise KeyError('gold')", TrainingError, r"rewards\.given: my_reward\.py:score failed on 8 resp.*KeyError"),
        ("return 'good'", TrainingError, r"rewards\.given: my_reward\.py:score failed on 8 responses"),
        ("return [1.0]", TrainingError, r"rewards\.given: scored 8 responses by a tensor of shape \(1,\)"),
        ("return 1.0", TrainingError, r"rewards\.given: scored 8 responses by a tensor of shape \(\)"),
        (
            "return [0.0, float('nan')] + [0.0] * 6",
            TrainingError,
            r"rewards\.given: scored nan for the response '.*' to the prompt '\d+ \+ \d+ \?'\. A reward must be a fin",
        ),
    ],
    ids=["failing", "text", "too few", "one number", "NaN"],
)
def test_a_function_that_gives_no_number_a_response_is_named(function, body, error, words):
    root = function(f"def score(prompts, responses, finished):\n    {body}\n")
    with pytest.raises(error, match=words):
        run_stage("ppo", PPO, root)
    assert not (root / "outputs/models/ppo").exists()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (None, r"my_reward\.py"),
        ("import no_such_module\n", r"my_reward\.py[\s\S]*No module named 'no_such_module'"),
        ("other = 1\n", r"my_reward\.py[\s\S]*score"),
        ("score = 1\n", r"my_reward\.py[\s\S]*is a int and cannot be called"),
    ],
    ids=["no file", "does not import", "no such function", "no function"],
)
def test_a_function_that_cannot_be_loaded_is_named(function, source, words):
    root = function(source or "")
    if source is None:
        (root / "my_reward.py").unlink()
    with pytest.raises(ConfigError, match=words):
        run_stage("ppo", PPO, root)
