"""The endpoint engine against a small HTTP server that fails on purpose."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from retort.config.data import SamplingConfig
from retort.engines.base import plan_requests
from retort.engines.endpoint import EndpointEngine
from retort.engines.log import answer, read_log
from retort.errors import ConfigError, EngineError, InputError

SAMPLING = SamplingConfig(temperatures=[0.5, 1.0], samples=2, max_new_tokens=7, top_p=0.9)
PROMPTS = [{"prompt_id": f"p{index}", "prompt": f"what is {index} ?"} for index in range(5)]
REQUESTS = plan_requests(PROMPTS, SAMPLING, seed=0, stage="teacher_responses")


class Server(ThreadingHTTPServer):
    """Answers chat completions with the prompt; `statuses` gives what the first attempts of a prompt get instead."""

    daemon_threads = True

    def __init__(self, statuses=(), *, refuse=None, delay=0.0, content=None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.statuses, self.refuse, self.delay, self.content = statuses, refuse, delay, content
        self.attempts, self.bodies, self.now, self.most, self.lock = Counter(), [], 0, 0, threading.Lock()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server, prompt = self.server, body["prompt"] if "prompt" in body else body["messages"][-1]["content"]
        with server.lock:
            server.bodies.append(body)
            key = (prompt, body["seed"])
            server.attempts[key] += 1
            server.now += 1
            server.most = max(server.most, server.now)
            attempt = server.attempts[key]
        time.sleep(server.delay)
        with server.lock:
            server.now -= 1
        if server.refuse and (refused := server.refuse(body)):
            self.reply(refused[0], {"error": {"message": refused[1]}})
        elif attempt <= len(server.statuses):
            self.reply(server.statuses[attempt - 1], {"error": {"message": "busy"}})
        else:
            message = {"role": "assistant", "content": prompt.upper() if server.content is None else server.content}
            choice = {"index": 0, "message": message, "text": message["content"], "finish_reason": "stop"}
            if body.get("logprobs"):
                tokens = [{"token": "a", "logprob": value, "top_logprobs": []} for value in (-1.0, -2.0, -6.0)]
                choice["logprobs"] = {"content": tokens, "token_logprobs": [-1.0, -2.0, -6.0]}
            usage = {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}
            self.reply(
                200,
                {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
                | {"usage": usage},
            )

    def reply(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Retry-After-Ms", "20")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def serve():
    servers = []

    def start(*args, **more):
        server = Server(*args, **more)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def engine(server, **more):
    return EndpointEngine(server.url, "m", api_key_env=None, **more)


def ask(server, requests=REQUESTS, done=(), **more):
    with engine(server, **more) as one:
        return [response for batch in one.generate(requests, SAMPLING, done) for response in batch]


@pytest.mark.parametrize("form", ["message", "text"])
def test_log_probabilities_are_asked_for_only_when_wanted(serve, form):
    server, (request, *_) = serve(), REQUESTS
    for wanted, expected in ((False, None), (True, -3.0)):
        with engine(server) as one:
            sampling = SAMPLING.model_copy(update={"logprobs": wanted})
            ((response,),) = one.generate([replace(request, form=form)], sampling)
        assert response.mean_logprob == expected
        assert ("logprobs" in server.bodies[-1]) is wanted


def test_each_request_is_answered_once_with_its_settings(serve):
    server = serve()
    found = {response.key: response for response in ask(server)}
    assert found.keys() == {request.key for request in REQUESTS}
    assert found["p3", 2].response == "WHAT IS 3 ?"
    assert (found["p3", 2].finish_reason, found["p3", 2].prompt_tokens, found["p3", 2].response_tokens) == (
        "stop",
        11,
        3,
    )
    assert Counter(body["temperature"] for body in server.bodies) == {0.5: 10, 1.0: 10}
    assert {(body["max_tokens"], body["top_p"]) for body in server.bodies} == {(7, 0.9)}
    assert len({body["seed"] for body in server.bodies}) == len(REQUESTS)


def test_429_and_500_are_tried_again(serve):
    server = serve([429, 500])
    assert len(ask(server)) == len(REQUESTS)
    assert set(server.attempts.values()) == {3}


def test_an_endpoint_that_stays_away_is_a_retryable_error_after_its_attempts(serve):
    server = serve([503] * 99)
    with pytest.raises(EngineError, match=r"503 after 3 attempts.*run the stage again"):
        ask(server, REQUESTS[:1], max_retries=2)
    assert set(server.attempts.values()) == {3}


def test_a_dead_address_is_a_retryable_error():
    with (
        pytest.raises(EngineError, match="no answer after 1 attempts"),
        EndpointEngine("http://127.0.0.1:9/v1", "m", api_key_env=None, max_retries=0) as one,
    ):
        list(one.generate(REQUESTS[:1], SAMPLING))


@pytest.mark.parametrize("concurrency", [1, 3])
def test_no_more_requests_are_under_way_than_allowed(serve, concurrency):
    server = serve(delay=0.02)
    ask(server, concurrency=concurrency)
    assert server.most == concurrency


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (401, ConfigError, "refuses the key"),
        (404, ConfigError, "does not know model 'm'"),
        (400, InputError, "refuses prompt 'p0'"),
    ],
)
def test_what_no_retry_can_mend_is_said_at_once(serve, status, kind, words):
    server = serve(refuse=lambda _: (status, "no"))
    with pytest.raises(kind, match=words):
        ask(server, REQUESTS[:1])
    assert len(server.bodies) == 1


def test_an_endpoint_that_wants_the_newer_name_of_the_limit_gets_it(serve):
    message = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
    server = serve(refuse=lambda body: (400, message) if "max_tokens" in body else None)
    assert len(ask(server, concurrency=1)) == len(REQUESTS)
    assert len(server.bodies) == len(REQUESTS) + 1


def test_a_missing_key_names_the_variable(monkeypatch):
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with (
        pytest.raises(ConfigError, match="NO_SUCH_KEY is not set"),
        EndpointEngine("http://x/v1", "m", api_key_env="NO_SUCH_KEY"),
    ):
        pass


def test_a_task_that_fails_midway_goes_on_with_what_is_missing(serve, tmp_path):
    log = tmp_path / "responses.jsonl"
    server = serve(refuse=lambda body: (401, "no credit") if "is 3" in body["messages"][0]["content"] else None)
    with pytest.raises(ConfigError), engine(server, concurrency=4) as one:
        answer(one, REQUESTS, SAMPLING, log, words="teacher")
    kept = read_log(log)
    assert len(kept) >= 12
    assert not any(prompt_id == "p3" for prompt_id, _ in kept)
    log.write_bytes(log.read_bytes() + b'{"prompt_id": "p3", "sam')

    # A server of its own: the first one may still read requests that were under way when the task failed.
    again = serve()
    with engine(again) as one:
        responses = answer(one, REQUESTS, SAMPLING, log, words="teacher")
    assert [response.key for response in responses] == [request.key for request in REQUESTS]
    assert len(again.bodies) == len(REQUESTS) - len(kept)
    # The half line is gone from the file: another kill, and the log would be read again.
    assert read_log(log).keys() == {request.key for request in REQUESTS}


def test_missing_text_is_an_empty_response(serve):
    assert ask(serve(content=""), REQUESTS[:1])[0].response == ""


def test_stop_texts_are_sent_and_cut_at_even_where_the_server_ignores_them(serve):
    server = serve(content="4\n\nQuestion: and 5 ?")
    asked = [replace(REQUESTS[0], stop=("</s>", "Question:", "a", "b", "c"))]
    with EndpointEngine(server.url, "m", api_key_env=None) as engine:
        ((response,),) = engine.generate(asked, SAMPLING)
    assert server.bodies[0]["stop"] == ["</s>", "Question:", "a", "b"]  # OpenAI's interface takes four
    assert (response.response, response.finish_reason) == ("4\n\n", "stop")


def test_a_model_that_refuses_stop_texts_is_asked_without_them(serve):
    words = "Unsupported parameter: 'stop' is not supported with this model."
    server = serve(content="4 Question: 5", refuse=lambda body: (400, words) if "stop" in body else None)
    asked = [replace(one, stop=("Question:",)) for one in REQUESTS]
    with EndpointEngine(server.url, "m", api_key_env=None, concurrency=8) as engine:
        responses = [one for batch in engine.generate(asked, SAMPLING) for one in batch]
    assert [one.response for one in responses] == ["4 "] * len(REQUESTS)


def test_a_conversation_is_sent_as_it_is_and_text_to_the_plain_completions(serve):
    server = serve()
    turns = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "2 ?"}]
    asked = [
        replace(REQUESTS[0], prompt=json.dumps(turns), form="conversation"),
        replace(REQUESTS[4], prompt="q: 3 ?\na:", form="text"),
    ]
    with EndpointEngine(server.url, "m", api_key_env=None, concurrency=1) as engine:
        found = [one.response for batch in engine.generate(asked, SAMPLING) for one in batch]
    assert server.bodies[0]["messages"] == turns
    assert server.bodies[1]["prompt"] == "q: 3 ?\na:"
    assert "messages" not in server.bodies[1]
    assert found == ["2 ?", "Q: 3 ?\nA:"]
