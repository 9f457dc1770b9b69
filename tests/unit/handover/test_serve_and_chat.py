"""`retort serve` and `retort chat`: the student answers, in a server of its own and in this process."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from retort.errors import ConfigError, InputError, MissingToolError
from retort.handover import serve as serving
from retort.handover.chat import Settings, answer, converse, speakers
from retort.handover.serve import command, model_name
from retort.handover.student import Student
from retort.run.paths import Paths

Run = Callable[..., Student]
RETORT = [sys.executable, "-m", "retort"]


def test_vllm_serves_where_it_is_installed_under_the_name_of_the_run(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    student = run()
    monkeypatch.setattr(serving, "_program", lambda name: f"/bin/{name}")
    found = command(student, host="0.0.0.0", port=9, engine=None)  # noqa: S104 - only named
    assert found[:3] == ["/bin/vllm", "serve", str(student.folder)]
    assert found[3:5] == ["--served-model-name", "first"]
    assert found[-4:] == ["--host", "0.0.0.0", "--port", "9"]  # noqa: S104
    assert model_name(student, found) == "first"
    assert command(student, host="h", port=9, engine="transformers")[:2] == ["/bin/transformers", "serve"]


def test_without_any_server_it_is_said_what_to_install(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    student = run()
    monkeypatch.setattr(serving, "_program", lambda _: None)
    with pytest.raises(MissingToolError, match=r"pip install 'transformers\[serving\]'"):
        command(student, host="h", port=9)


@pytest.mark.long
def test_the_served_student_answers_and_ends_when_it_is_told(run: Run, home: Path) -> None:
    run()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = (home / "log").open("w")
    server = subprocess.Popen([*RETORT, "serve", "first", "--port", str(port)], stdout=log, stderr=log, cwd=home)
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5)
                break
            except OSError:
                assert server.poll() is None, (home / "log").read_text()
                time.sleep(0.3)
        said = (home / "log").read_text()
        model = said.partition(", model ")[2].splitlines()[0]
        body = {"model": model, "messages": [{"role": "user", "content": "39 + 25"}], "max_tokens": 4}
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/chat/completions",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=120) as found:  # noqa: S310 - http, as said above
            assert json.loads(found.read())["choices"][0]["message"]["role"] == "assistant"
        os.kill(server.pid, signal.SIGTERM)
        server.wait(30)
    finally:
        server.kill()


def test_every_model_answers_each_line_and_hears_only_itself(run: Run) -> None:
    student, shown, settings = run(), [], Settings(max_new_tokens=6)
    with speakers(student.root, ["ppo", "base"], settings) as present:
        converse(present, ["39 + 25\n", "\n", "and 2 more\n", "/new\n", "39 + 25\n"], shown.append, settings)
        ppo, base = present
        assert [one["role"] for one in ppo.messages] == ["user", "assistant"]
        assert ppo.messages[1]["content"] == shown[4].response
        assert base.messages[1]["content"] == shown[5].response
    assert [one.model for one in shown] == ["PPO student", "Base student"] * 3
    assert shown[0].response == shown[4].response  # after /new the same question has the same answer
    assert shown[0].response != shown[1].response  # other weights
    assert all(one.tokens <= 6 for one in shown)


def test_an_answer_leaves_room_in_the_context_and_a_full_one_is_no_end(run: Run) -> None:
    """512 tokens would not fit the demonstration's own student."""
    student = run()
    long, shown, refused = "39 + 25 " * 2000, [], []
    with speakers(student.root, ["ppo"], Settings()) as (ppo,):
        assert ppo.max_new_tokens == 128  # of a context of 256, less than evaluate.max_new_tokens
        converse([ppo], ["39 + 25\n", f"{long}\n", "39 + 25\n"], shown.append, Settings(), refused.append)
        assert len(ppo.messages) == 4  # the line that was refused was not heard
        with pytest.raises(InputError, match="exceeds the model's context"):
            converse([ppo], [long], shown.append, Settings())
    assert len(shown) == 2
    assert "Shorten" in str(refused[0])


def test_a_system_prompt_and_the_conversation_are_what_is_answered(run: Run) -> None:
    student = run()
    plain, told = Settings(max_new_tokens=6), Settings(max_new_tokens=6, system="39 clips in May")
    said = []
    for settings in (plain, told):
        with speakers(student.root, ["ppo"], settings) as (ppo,):
            said.append(answer(ppo, "39 + 25", settings).response)
    assert said[0] != said[1]


def test_what_cannot_answer_is_refused_before_anything_is_loaded(run: Run) -> None:
    student = run()
    with (
        pytest.raises(ConfigError, match="unknown model 'bsae'; did you mean 'base'"),
        speakers(student.root, ["ppo", "bsae"], Settings()),
    ):
        pass
    with (
        pytest.raises(InputError, match=r"models/teacher: does not exist.*retort pull"),
        speakers(student.root, ["ppo", "teacher"], Settings()),
    ):
        pass


def test_the_verb_prints_one_object_an_answer(run: Run, home: Path) -> None:
    student = run()
    assert Paths(student.root).model("base").exists()
    done = subprocess.run(
        [*RETORT, "chat", "first", "--beside", "base", "--max-new-tokens", "4", "--json"],
        input="39 + 25\n",
        capture_output=True,
        text=True,
        cwd=home,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["model"] for line in done.stdout.splitlines()] == ["PPO student", "Base student"]
