"""The server's life: started, waited for, asked, and ended with its children, whatever happens.

vLLM needs a GPU. A small program with its command line stands in for it: what is tested is the process's life.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from retort.config.data import SamplingConfig
from retort.config.models import VLLMEngineConfig
from retort.engines.base import plan_requests
from retort.engines.vllm import VLLMEngine
from retort.errors import EngineError, MissingToolError
from retort.modeling.loading import Reference, write_reference

SERVER = """
    import json, os, subprocess, sys, time
    from http.server import BaseHTTPRequestHandler, HTTPServer
    arguments = sys.argv[1:]
    port = int(arguments[arguments.index("--port") + 1])
    child = subprocess.Popen(["sleep", "300"])
    open(os.environ["PIDS"], "w").write(f"{os.getpid()} {child.pid}")
    if os.environ.get("MODE") == "crash":
        sys.exit("out of memory: buy a larger GPU")
    if os.environ.get("MODE") == "hang":
        time.sleep(300)
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200); self.end_headers()
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": body["model"]}}
            usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
            data = json.dumps({"id": "x", "object": "chat.completion", "created": 0, "model": "m",
                               "choices": [choice], "usage": usage}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        def log_message(self, *_): pass
    HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""
SAMPLING = SamplingConfig(temperatures=[0.0], samples=1)
REQUESTS = plan_requests([{"prompt_id": "a", "prompt": "x"}], SAMPLING, seed=0, stage="teacher_responses")


@pytest.fixture
def make(tmp_path, monkeypatch):
    (tmp_path / "server.py").write_text(textwrap.dedent(SERVER))
    monkeypatch.setenv("PIDS", str(tmp_path / "pids"))
    folder = tmp_path / "outputs/models/teacher"
    write_reference(folder, Reference("some-org/big", revision="0" * 40, dtype="bfloat16"))

    def make(**more):
        config = VLLMEngineConfig(type="vllm", **more)
        return VLLMEngine(config, folder, command=(sys.executable, str(tmp_path / "server.py")))

    make.folder, make.pids = folder, lambda: [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    return make


def all_gone(pids, seconds=10.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not any(alive(pid) for pid in pids):
            return True
        time.sleep(0.05)
    return False


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stream:
            return stream.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_it_serves_and_ends_with_its_children(make):
    with make() as engine:
        ((response,),) = list(engine.generate(REQUESTS, SAMPLING))
        pids = make.pids()
        assert all(alive(pid) for pid in pids)
    # Requests use a neutral name, tables the model's own.
    assert (response.response, response.model) == ("model", "some-org/big")
    assert all_gone(pids)


def test_it_ends_when_the_stage_fails(make):
    with contextlib.suppress(ZeroDivisionError), make():
        pids = make.pids()
        raise ZeroDivisionError
    assert all_gone(pids)


def test_it_ends_when_the_stage_is_killed(make, tmp_path):
    script = f"""
        import sys, time
        from pathlib import Path
        from retort.config.models import VLLMEngineConfig
        from retort.engines.vllm import VLLMEngine
        command = (sys.executable, {str(tmp_path / "server.py")!r})
        with VLLMEngine(VLLMEngineConfig(type="vllm"), Path({str(make.folder)!r}), command=command):
            print("up", flush=True)
            time.sleep(300)
    """
    stage = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE)
    assert stage.stdout.readline() == b"up\n"
    server, child = make.pids()
    stage.send_signal(signal.SIGKILL)
    stage.wait()
    try:
        assert all_gone([server])
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_server_that_ends_at_once_is_quoted(make, monkeypatch):
    monkeypatch.setenv("MODE", "crash")
    with pytest.raises(EngineError, match=r"exit code 1[\s\S]*buy a larger GPU"), make():
        pass
    assert all_gone(make.pids())


def test_a_server_that_never_answers_is_ended(make, monkeypatch):
    monkeypatch.setenv("MODE", "hang")
    with pytest.raises(EngineError, match="did not answer within 2 s"), make(start_timeout_s=2):
        pass
    assert all_gone(make.pids())


def test_without_vllm_it_says_what_to_install_or_change(make):
    engine = VLLMEngine(VLLMEngineConfig(type="vllm"), make.folder, command=("no-such-vllm",))
    with pytest.raises(MissingToolError, match=r"is not installed.*engine.type"), engine:
        pass


def test_the_command_line_pins_the_revision_and_passes_the_settings(make):
    arguments = make(tensor_parallel=2, gpu_memory_utilization=0.8, concurrency=64).arguments()
    assert arguments[0] == "some-org/big"
    given = dict(zip(arguments[1::2], arguments[2::2], strict=True))
    assert given.pop("--port").isdigit()
    assert given == {
        "--host": "127.0.0.1",
        "--served-model-name": "model",
        "--dtype": "bfloat16",
        "--tensor-parallel-size": "2",
        "--gpu-memory-utilization": "0.8",
        "--max-num-seqs": "64",
        "--generation-config": "vllm",
        "--revision": "0" * 40,
        "--tokenizer-revision": "0" * 40,
    }
