"""A stand-in for OpenAI-compatible servers and the gateways before them, with every behaviour that tests need.

A `Server` answers a chat with its last message in capitals, and a plain completion with its prompt, until it is told
otherwise: `statuses` are what the first attempts of each request get instead, `refuse` says which bodies are refused
and how, and `bodies` what is answered with status 200 in place of a completion, first to last, then completions again.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Body = dict[str, Any]

GOOD: Body = {
    "id": "x",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "usage": {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14},
    "choices": [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "The answer is 18."}}
    ],
}


def changed(**fields: Any) -> Body:
    """A completion with other fields at the top."""
    return GOOD | fields


def choice(**fields: Any) -> Body:
    """A completion whose choice has other fields."""
    return changed(choices=[GOOD["choices"][0] | fields])


def message(content: Any, **fields: Any) -> Body:
    """A completion whose message says `content`."""
    return choice(message={"role": "assistant", "content": content} | fields)


NO_COMPLETIONS: dict[str, Body | str] = {
    "an error body": {"error": {"message": "Provider returned error", "code": 429}},
    "an error in words": {"error": "upstream connect error or disconnect/reset before headers"},
    "vLLM's error": {"object": "error", "message": "engine is dead", "type": "InternalServerError", "code": 500},
    "choices null": changed(choices=None),
    "choices empty": changed(choices=[]),
    "choices no list": changed(choices={"a": 1}),
    "a choice null": changed(choices=[None]),
    "message null": choice(message=None),
    "message no object": choice(message="18"),
    "an error in the choice": choice(error={"code": 502, "message": "bad gateway"}, finish_reason="error"),
    "content a number": message(18),
    "HTML": "<html><body>502 Bad Gateway</body></html>",
    "a stream": 'data: {"id":"x","choices":[{"index":0,"delta":{"content":"18"}}]}\n\ndata: [DONE]\n\n',
    "cut JSON": json.dumps(GOOD)[:90],
    "nothing": "",
    "a list": "[]",
    "null": "null",
}
"""Bodies with status 200 that are no completion, and would be one if they were asked for again."""


class Server(ThreadingHTTPServer):
    """Answers on a port of its own; see the module."""

    daemon_threads = True
    request_queue_size = 128  # else a busy machine refuses connections that no test means to lose

    def __init__(
        self,
        statuses: Sequence[int] = (),
        *,
        refuse: Callable[[Body], tuple[int, Any] | None] | None = None,
        bodies: Sequence[Body | str] = (),
        say: Callable[[Body], Body | str] | None = None,
        delay: float = 0.0,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.statuses, self.refuse, self.delay = statuses, refuse, delay
        self.say = say or echo
        self.waiting = list(bodies)
        self.headers = {"Retry-After-Ms": "5"} if headers is None else headers
        self.attempts: Counter[tuple[str, int]] = Counter()
        self.asked: list[Body] = []
        self.sent_headers: list[dict[str, str]] = []
        self.now, self.most, self.lock = 0, 0, threading.Lock()

    @property
    def url(self) -> str:
        """Address for a configuration."""
        return f"http://127.0.0.1:{self.server_port}/v1"


def text_of(body: Body) -> str:
    """What a request asks."""
    return str(body["prompt"] if "prompt" in body else body["messages"][-1]["content"])


def echo(body: Body) -> Body:
    """The prompt in capitals, as both interfaces have it, with log-probabilities where they are asked for."""
    said = text_of(body).upper()
    fields: Body = {"message": {"role": "assistant", "content": said}}
    if "prompt" in body:
        fields["text"] = said
    if body.get("logprobs"):
        tokens = [{"token": "a", "logprob": value, "top_logprobs": []} for value in (-1.0, -2.0, -6.0)]
        fields["logprobs"] = {"content": tokens, "token_logprobs": [-1.0, -2.0, -6.0]}
    return choice(**fields)


def draws(body: Body) -> Body:
    """What a server that honours temperature and seed draws: words that depend on both."""
    drawn = body.get("seed", 0) if body.get("temperature", 1) else 0
    return message(f"{text_of(body).upper()} {drawn}")


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Server

    def do_POST(self) -> None:
        """Answer it as the server is told."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = self.server
        with server.lock:
            server.asked.append(body)
            server.sent_headers.append({name.lower(): value for name, value in self.headers.items()})
            key = (text_of(body), body.get("seed", 0))
            server.attempts[key] += 1
            attempt = server.attempts[key]
            server.now += 1
            server.most = max(server.most, server.now)
        time.sleep(server.delay)
        with server.lock:
            server.now -= 1
            instead = None
            refused = server.refuse(body) if server.refuse else None
            if refused is None and attempt > len(server.statuses) and server.waiting:
                instead = server.waiting.pop(0)
        if refused is not None:
            status, said = refused
            self._reply(status, said if isinstance(said, dict) else {"error": {"message": said}})
        elif attempt <= len(server.statuses):
            self._reply(server.statuses[attempt - 1], {"error": {"message": "busy"}})
        else:
            self._reply(200, server.say(body) if instead is None else instead)

    def _reply(self, status: int, body: Body | str) -> None:
        data = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def serving(*args: Any, **more: Any) -> Iterator[Server]:
    """A server that answers while the block runs."""
    server = Server(*args, **more)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
