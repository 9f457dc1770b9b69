"""A threaded HTTP server with routes, which can be told to refuse, or to be away for a while."""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Request:
    """What a client asked."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes

    def json(self) -> dict[str, Any]:
        """The body, read."""
        value: dict[str, Any] = json.loads(self.body or b"{}")
        return value


@dataclass(frozen=True)
class Answer:
    """What it gets; JSON unless it says otherwise."""

    status: int = 200
    body: Any = field(default_factory=dict)
    """A value for JSON, bytes as they are, or an iterable of bytes that is sent in chunks."""
    headers: dict[str, str] = field(default_factory=dict)


class Refused(Exception):  # noqa: N818 - as the client sees it
    """A refusal with a status and a message."""

    def __init__(self, status: int, message: str):
        self.status, self.message = status, message
        super().__init__(message)


@dataclass
class Fault:
    """A refusal that a test orders."""

    pattern: str
    """Of `METHOD path`."""
    status: int
    message: str
    left: int
    """How often; -1 for ever."""


Handler = Callable[..., Any]


class StandIn:
    """A server on a port of its own; subclasses name their routes."""

    routes: tuple[tuple[str, str, str], ...] = ()
    """Method, pattern of the path, name of the method that answers; groups of the pattern are its arguments."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        """`METHOD path` of every request, in order."""
        self.faults: list[Fault] = []
        self.before: list[tuple[str, Callable[[], None]]] = []
        """What happens just before a request is answered: a pattern and a call, the first that fits, once."""
        self.lock = threading.RLock()
        self._port = 0
        self._server: ThreadingHTTPServer | None = None
        self.start()

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Listen, at the same port as before."""
        stand_in = self

        class _Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *_: Any) -> None:
                """Nothing."""

            def handle_any(self) -> None:
                stand_in._serve(self)

            do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = handle_any

        ThreadingHTTPServer.allow_reuse_address = True
        ThreadingHTTPServer.daemon_threads = True
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), _Handler)
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def stop(self) -> None:
        """Listen no more: connections are refused."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Connections are refused in the block."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    def refuse(self, pattern: str, status: int, message: str = "no", *, times: int = -1) -> None:
        """Answer requests that match (`GET /apis/.*runs`) with this status."""
        self.faults.append(Fault(pattern, status, message, times))

    def refusal(self, status: int, message: str) -> Answer:
        """A refusal in this API's words."""
        return Answer(status, {"error": message, "code": status, "message": message})

    def allowed(self, request: Request) -> None:
        """Raise Refused where this client may not ask."""

    def dispatch(self, request: Request) -> Answer:
        """The answer to a request."""
        line = f"{request.method} {request.path}"
        with self.lock:
            if (first := next((one for one in self.before if re.search(one[0], line)), None)) is not None:
                self.before.remove(first)
                first[1]()
            self.asked.append(line)
            for fault in self.faults:
                if fault.left and re.search(fault.pattern, line):
                    fault.left -= 1
                    return self.refusal(fault.status, fault.message)
            try:
                self.allowed(request)
                for method, pattern, name in self.routes:
                    if method == request.method and (found := re.fullmatch(pattern, request.path)):
                        made = getattr(self, name)(request, *found.groups())
                        return made if isinstance(made, Answer) else Answer(body=made)
            except Refused as error:
                return self.refusal(error.status, error.message)
        return self.refusal(404, f"{line}: no such thing here")

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        query = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        body = handler.rfile.read(int(handler.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        answer = self.dispatch(Request(handler.command, parts.path, query, headers, body))
        try:
            _send(handler, answer)
        except (BrokenPipeError, ConnectionResetError):  # the client has gone, or a test breaks an answer off
            handler.close_connection = True


def _send(handler: BaseHTTPRequestHandler, answer: Answer) -> None:
    handler.send_response(answer.status)
    body = answer.body
    if not isinstance(body, bytes) and isinstance(body, Iterable) and not isinstance(body, dict | list | str):
        handler.send_header("transfer-encoding", "chunked")
        handler.end_headers()
        for chunk in body:
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        handler.wfile.write(b"0\r\n\r\n")
        return
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    kind = {} if isinstance(body, bytes) else {"content-type": "application/json"}
    for name, value in ({"content-length": str(len(content))} | kind | answer.headers).items():
        handler.send_header(name, value)
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(content)
