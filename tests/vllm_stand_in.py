"""A program with the command line and the answers of `vllm serve`, for tests of what Retort does around it.

It answers a prompt with its last token and the first token that ends a response. MODE says how it fails, as a real one
was seen to.
"""

from __future__ import annotations

import json
import os
import socketserver
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler
from typing import Any

MODE = os.environ.get("MODE", "")
STATE = os.environ["STATE"]
"""Folder for what tests read: process ids, arguments, requests."""


class Handler(BaseHTTPRequestHandler):
    """Answers as vLLM does."""

    written = 0

    def address_string(self) -> str:
        """A Unix socket has no address."""
        return "socket"

    def do_GET(self) -> None:
        """`/health` and `/metrics`."""
        self.answer(f'vllm:generation_tokens_total{{engine="0"}} {float(Handler.written)}\n'.encode())

    def do_POST(self) -> None:
        """Any route that is given something."""
        self.post(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def post(self, body: dict[str, Any]) -> None:
        """`/v1/completions`."""
        with open(f"{STATE}/requests", "a") as stream:
            stream.write(json.dumps(body) + "\n")
        if MODE == "die":
            print("CUDA out of memory. Tried to allocate 2 GiB", flush=True)
            os._exit(1)
        if MODE == "refuse":
            self.answer(b'{"error": {"message": "top_p must be in (0, 1]"}}', status=400)
            return
        if MODE == "busy" and not os.path.exists(f"{STATE}/busy"):
            open(f"{STATE}/busy", "w").close()
            self.answer(b"engine is busy", status=503)
            return
        if MODE == "stall":
            time.sleep(300)
        if MODE == "slow":  # longer than the patience, but it gets on
            for _ in range(12):
                Handler.written += 1
                time.sleep(0.25)
        self.answer(json.dumps({"choices": [completion(body)]}).encode())

    def answer(self, data: bytes, status: int = 200) -> None:
        """Send an answer."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def completion(body: dict[str, Any]) -> dict[str, Any]:
    """The prompt's last token and an end; or how probable a prompt is: token 7 most, all others not."""
    prompt = body["prompt"]
    if "prompt_logprobs" in body:
        told = [{str(one): {"logprob": -0.5 if one == 7 else -2.0, "rank": 1 if one == 7 else 3}} for one in prompt]
        return {"prompt_logprobs": [None, *told[1:]], "token_ids": [1], "finish_reason": "length"}
    ids = [prompt[-1], body["stop_token_ids"][0]]
    told_logprobs = {"token_logprobs": [-0.25, -0.75]} if "logprobs" in body else None
    return {"token_ids": ids, "finish_reason": "stop", "logprobs": told_logprobs}


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Takes many requests at once."""

    daemon_threads = True
    request_queue_size = 64


def main(arguments: list[str]) -> None:
    """Serve at `--uds`."""
    child = subprocess.Popen(["sleep", "300"])
    with open(f"{STATE}/pids", "a") as stream:
        stream.write(f"{os.getpid()} {child.pid}\n")
    with open(f"{STATE}/arguments", "w") as stream:
        json.dump(arguments, stream)
    if MODE == "crash":
        sys.exit("out of memory: buy a larger GPU")
    if MODE == "hang":
        time.sleep(300)
    Server(arguments[arguments.index("--uds") + 1], Handler).serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])
