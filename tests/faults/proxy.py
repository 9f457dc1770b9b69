"""A proxy between a client and an S3 server that does to requests and answers what networks and stores do to them."""

from __future__ import annotations

import http.client
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KINDS = {
    "connection reset": "the connection is reset instead of an answer",
    "silence": "no answer for longer than the client waits",
    "slow answer": "the answer comes, a few bytes at a time",
    "500": "InternalError",
    "503": "ServiceUnavailable",
    "SlowDown": "too many requests",
    "access denied": "403, as while a key is being replaced",
    "cut answer": "half of the body, then the end of the connection",
    "damaged answer": "one bit of the body is another; its length is right",
    "another's answer": "the body is that of another object, as long as it should be",
    "damaged upload": "one bit of what is stored is another; its length is right",
    "lost answer": "the request is carried out, its answer is lost",
}
"""What is done, by name."""

_ERRORS = {
    "500": (500, "InternalError"),
    "503": (503, "ServiceUnavailable"),
    "SlowDown": (503, "SlowDown"),
    "access denied": (403, "AccessDenied"),
}

Choose = Callable[[str, str], str]
"""Gives the fault of a request with this method and path; empty for none."""


def applies(kind: str, method: str) -> bool:
    """Whether a fault can be made of a request with this method: some need a body."""
    if kind in ("cut answer", "damaged answer", "another's answer"):
        return method == "GET"
    return method == "PUT" if kind == "damaged upload" else True


def flipped(content: bytes, place: float) -> bytes:
    """The content with one bit changed, at a place between 0 and 1."""
    if not content:
        return content
    at = int(place * len(content))
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


class FaultProxy:
    """`with FaultProxy(url) as proxy`: its `url`, which requests get a fault, and what was done."""

    def __init__(self, upstream: str, *, silence_s: float = 2.0) -> None:
        self.upstream = upstream.removeprefix("http://")
        self.choose: Choose = lambda _method, _path: ""
        self.done: Counter[str] = Counter()
        self.silence_s = silence_s
        self.random = random.Random(0)
        self.seen: list[bytes] = []
        """Bodies that were given before, of which another may be a wrong answer."""
        self.lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"proxy": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def fault_of(self, method: str, path: str, _body: bytes) -> tuple[str, float]:
        """The fault of a request, counted, and where in its body it is."""
        with self.lock:
            kind = self.choose(method, path)
            kind = kind if kind and applies(kind, method) else ""
            if kind:
                self.done[kind] += 1
            return kind, self.random.random()

    def __enter__(self) -> FaultProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    proxy: FaultProxy
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Nothing."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self._pass
        raise AttributeError(name)

    def _pass(self) -> None:
        proxy = self.proxy
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        kind, place = proxy.fault_of(self.command, self.path, body)
        if kind == "silence":
            time.sleep(proxy.silence_s)
        if kind in ("silence", "connection reset"):
            self._reset()
            return
        if kind in _ERRORS:
            status, code = _ERRORS[kind]
            text = f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
            self._send(status, [("Content-Type", "application/xml")], text)
            return
        if kind == "damaged upload":
            body = flipped(body, place)
        status, headers, content = self._asked(body)
        if kind == "lost answer":
            self._reset()
            return
        if kind == "damaged answer":
            content = flipped(content, place)
        if kind == "another's answer":
            content = self._another(content)
        elif self.command == "GET" and status == 200:
            with proxy.lock:
                proxy.seen = [*proxy.seen[-20:], content]
        self._send(status, headers, content, cut=kind == "cut answer", slow=kind == "slow answer")

    def _asked(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        upstream = http.client.HTTPConnection(self.proxy.upstream, timeout=60)
        upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            upstream.putheader(name, value)
        upstream.endheaders(body or None)
        answer = upstream.getresponse()
        headers = [(name, value) for name, value in answer.getheaders() if name.lower() not in ("server", "date")]
        self.length = answer.getheader("Content-Length", "0")
        content = answer.read()
        upstream.close()
        return answer.status, headers, content

    def _another(self, content: bytes) -> bytes:
        with self.proxy.lock:
            others = [one for one in self.proxy.seen if one != content and one]
        if not others:
            return flipped(content, 0.5)
        other = self.proxy.random.choice(others)
        return (other * (len(content) // len(other) + 1))[: len(content)]

    def _send(
        self, status: int, headers: list[tuple[str, str]], content: bytes, *, cut: bool = False, slow: bool = False
    ) -> None:
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", self.length if self.command == "HEAD" else str(len(content)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if cut:
            content, self.close_connection = content[: len(content) // 2], True
        if slow:
            step = max(1, len(content) // 5)
            for start in range(0, len(content), step):
                self.wfile.write(content[start : start + step])
                time.sleep(0.02)
        else:
            self.wfile.write(content)

    length = "0"

    def _reset(self) -> None:
        """End the connection with a reset, not with a polite end."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
