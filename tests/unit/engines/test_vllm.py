"""The server's life, and what it is asked: a stand-in with vLLM's command line fails as the real one was seen to.

`make test-vllm` asks the real one.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from pydantic import ValidationError

from retort.config.data import SamplingConfig
from retort.config.models import VLLMEngineConfig
from retort.engines import auto, vllm_arguments
from retort.engines.base import Request, ScoringEngine, plan_requests
from retort.engines.local import LocalEngine
from retort.engines.vllm import VLLMEngine
from retort.errors import ConfigError, EngineError, InputError, MissingToolError
from retort.modeling.chat import prompt_ids
from retort.modeling.loading import Reference, write_reference
from retort.plugins import EngineContext

STAND_IN = Path(__file__).parents[2] / "vllm_stand_in.py"
SAMPLING = SamplingConfig(temperatures=[0.7], samples=1, max_new_tokens=8)
REQUESTS = plan_requests([{"prompt_id": "a", "prompt": "x"}], SAMPLING, seed=0, stage="teacher_responses")


@pytest.fixture
def make(tmp_path, tiny_model_folder):
    tiny_model_folder(name="tiny")
    folder = tmp_path / "outputs/models/teacher"
    write_reference(folder, Reference("tiny", dtype="float32"))

    def make(mode="", **more):
        environment = {"MODE": mode, "STATE": str(tmp_path), **more.pop("environment", {})}
        config = VLLMEngineConfig(type="vllm", environment=environment, **more)
        program = (sys.executable, str(STAND_IN))
        return VLLMEngine(config, folder, file="outputs/prompts", logs=tmp_path / "logs", program=program)

    make.folder = folder
    make.pids = lambda: [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    make.asked = lambda: [json.loads(line) for line in (tmp_path / "requests").read_text().splitlines()]
    make.log = tmp_path / "logs/vllm-teacher.log"
    return make


def generated(engine, requests=REQUESTS, sampling=SAMPLING):
    return [response for batch in engine.generate(requests, sampling) for response in batch]


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


# Life


def test_it_serves_and_ends_with_its_children(make):
    with make() as engine:
        (response,) = generated(engine)
        pids = make.pids()
        assert all(alive(pid) for pid in pids)
    # Requests use a neutral name, tables the model's own.
    assert (response.model, response.finish_reason, response.response_tokens) == ("tiny", "stop", 2)
    assert all_gone(pids)


def test_it_ends_when_the_stage_fails(make):
    with contextlib.suppress(ZeroDivisionError), make() as engine:
        generated(engine)
        pids = make.pids()
        raise ZeroDivisionError
    assert all_gone(pids)


def test_it_ends_when_the_stage_is_killed(make, tmp_path):
    script = f"""
        import sys, time
        from pathlib import Path
        from retort.engines.vllm_server import Server, Serving
        serving = Serving([], {{"STATE": {str(tmp_path)!r}}}, 60.0, "x")
        server = Server((sys.executable, {str(STAND_IN)!r}), serving, Path({str(make.log)!r}))
        server.start()
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


def test_nothing_is_started_where_everything_is_answered(make, tmp_path):
    with make() as engine:
        assert list(engine.generate(REQUESTS, SAMPLING, [REQUESTS[0].key])) == []
    assert not (tmp_path / "pids").exists()


def test_a_server_that_ends_at_once_is_quoted(make):
    with pytest.raises(EngineError, match=r"exit code 1[\s\S]*buy a larger GPU"), make("crash") as engine:
        generated(engine)
    assert all_gone(make.pids())


def test_a_server_that_never_answers_is_ended(make):
    with pytest.raises(EngineError, match="did not answer within 2 s"), make("hang", start_timeout_s=2) as engine:
        generated(engine)
    assert all_gone(make.pids())


def test_a_server_that_dies_while_asked_is_quoted_at_once_and_its_log_is_kept(make):
    begun = time.monotonic()
    with pytest.raises(EngineError, match=r"exit code 1[\s\S]*CUDA out of memory"), make("die") as engine:
        generated(engine)
    assert time.monotonic() - begun < 20  # seven attempts of the endpoint client took longer, and said nothing
    assert "CUDA out of memory" in make.log.read_text()


def test_without_vllm_it_says_what_to_install_or_change(make):
    engine = make()
    engine._program = ("no-such-vllm",)
    with pytest.raises(MissingToolError, match=r"is not installed.*engine.type"), engine:
        generated(engine)


def test_proxies_of_the_environment_do_not_stand_between(make, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with make(start_timeout_s=30) as engine:
        assert len(generated(engine)) == 1


def test_two_servers_of_one_machine_do_not_meet(make):
    with make() as one, make() as other:
        generated(one)
        generated(other)
        assert one._server.socket != other._server.socket


def test_what_takes_longer_than_the_patience_is_waited_for_while_it_gets_on(make):
    # 3 s for the response, 1 s of patience: the counter moves every 0.25 s.
    with make("slow", stall_timeout_s=1.0) as engine:
        assert len(generated(engine)) == 1
    assert len(make.asked()) == 1  # it was not asked again from nothing


def test_a_server_that_gets_nowhere_is_given_up(make):
    with pytest.raises(EngineError, match="read and written nothing for 1 s"), make("stall", stall_timeout_s=1) as one:
        generated(one)
    assert all_gone(make.pids())


def test_a_server_that_is_busy_is_asked_again(make, caplog):
    with make("busy") as engine:
        assert len(generated(engine)) == 1
    assert "sent again" in caplog.text


def test_a_refused_request_quotes_the_server(make):
    with pytest.raises(ConfigError, match=r"status 400.*top_p must be"), make("refuse") as engine:
        generated(engine)


# What is served and asked


def given(engine, length=256):
    arguments = engine.arguments(length)
    return arguments[0], dict(zip(arguments[1::2], arguments[2::2], strict=True))


def test_the_command_line_passes_the_settings(make):
    model, flags = given(make(tensor_parallel=2, gpu_memory_utilization=0.8, concurrency=64))
    assert model.endswith("/tiny")
    assert flags == {
        "--served-model-name": "model",
        "--dtype": "float32",
        "--tensor-parallel-size": "2",
        "--gpu-memory-utilization": "0.8",
        "--max-num-seqs": "64",
        "--max-model-len": "256",
        "--generation-config": "vllm",
        "--logprobs-mode": "processed_logprobs",
    }


def test_the_revision_is_pinned(make):
    engine = make()
    write_reference(engine._folder, Reference("some-org/big", revision="0" * 40, dtype="bfloat16"))
    model, flags = given(engine)
    assert model == "some-org/big"
    assert (flags["--revision"], flags["--tokenizer-revision"]) == ("0" * 40, "0" * 40)


def test_more_arguments_and_variables_reach_the_server(make, tmp_path):
    args = {"enforce_eager": True, "enable_prefix_caching": False, "quantization": "awq", "hf_overrides": {"a": 1}}
    with make(args=args) as engine:
        generated(engine)
    arguments = json.loads((tmp_path / "arguments").read_text())
    assert {"--enforce-eager", "--no-enable-prefix-caching"} <= set(arguments)
    assert arguments[arguments.index("--quantization") + 1] == "awq"
    assert json.loads(arguments[arguments.index("--hf-overrides") + 1]) == {"a": 1}


@pytest.mark.parametrize("name", ["port", "dtype", "--enforce-eager"])
def test_arguments_that_retort_gives_are_refused(name):
    with pytest.raises(ValidationError, match=r"given by Retort itself|write 'enforce_eager'"):
        VLLMEngineConfig(type="vllm", args={name: 1})


def test_the_room_is_what_the_prompts_need_and_longer_ones_get_a_new_server(make, tmp_path, monkeypatch):
    monkeypatch.setattr(vllm_arguments, "_ROUNDED", 32)
    with make() as engine:
        for words in (5, 10, 100, 5):
            prompts = [{"prompt_id": "a", "prompt": "x" * words}]
            generated(engine, plan_requests(prompts, SAMPLING, seed=0, stage="x"))
        needed = max(len(body["prompt"]) for body in make.asked()) + 8
        arguments = json.loads((tmp_path / "arguments").read_text())
    room = int(arguments[arguments.index("--max-model-len") + 1])
    assert needed <= room < needed + 32
    assert len(make.pids()) == 2 * 2  # two servers, each with a child


def test_a_prompt_that_does_not_fit_is_refused_before_anything_is_started(make, tmp_path):
    long = plan_requests([{"prompt_id": "long", "prompt": "x " * 300}], SAMPLING, seed=0, stage="x")
    with pytest.raises(InputError, match="'long' has"), make() as engine:
        generated(engine, long)
    assert not (tmp_path / "pids").exists()


def test_prompts_go_as_the_tokens_that_the_local_engine_reads(make):
    begun = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "Let us"}]
    requests = [
        Request("plain", "one", 0, 0.7, 3),
        Request("begun", json.dumps(begun), 0, 0.7, 4, form="conversation", stop=("\n\n",)),
        Request("text", "two", 0, 0.0, 5, form="text"),
    ]
    with make() as engine:
        generated(engine, requests)
        tokenizer, ends = engine.tokenizer, list(engine._writer.ends)
    asked = {body["seed"]: body for body in make.asked()}
    for request in requests:
        assert asked[request.seed]["prompt"] == prompt_ids(tokenizer, request.prompt, request.form)
        assert asked[request.seed]["temperature"] == request.temperature
        assert asked[request.seed]["stop_token_ids"] == ends
    assert "\n\n" in asked[4]["stop"]
    assert asked[4]["prompt"][-1] != ends[0]  # the turn goes on


def test_log_probabilities_are_means_at_the_sampling_temperature(make):
    sampling = SAMPLING.model_copy(update={"logprobs": True})
    with make() as engine:
        (response,) = generated(engine, sampling=sampling)
    assert response.mean_logprob == pytest.approx(-0.5)  # (-0.25 - 0.75) / 2
    with pytest.raises(ConfigError, match="top_p below 1"), make() as engine:
        generated(engine, sampling=sampling.model_copy(update={"top_p": 0.9}))


def test_continuations_are_scored(make):
    with make() as engine:
        assert isinstance(engine, ScoringEngine)
        found = engine.log_likelihoods([([1, 2], [7, 7]), ([7], [7, 5])], batch_size=4)
    # -0.5 a token 7, -2 any other; greedy where every token ranks first.
    assert found == [(pytest.approx(-1.0), True), (pytest.approx(-2.5), False)]


def test_its_compute_is_counted_as_the_local_engines(make):
    assert make().parameters == LocalEngine(make.folder, file="x", training=False).parameters


def test_auto_takes_what_the_machine_has(make, monkeypatch, tmp_path):
    def engine(program):
        settings = auto.AutoEngineConfig(type="auto", program=program)
        context = EngineContext(settings, make.folder, tmp_path, "models.teacher.engine", "x", False)
        return auto.ENGINE.make(context)

    assert isinstance(engine(sys.executable), LocalEngine)  # no GPU here
    monkeypatch.setattr(auto, "has_gpu", lambda: True)
    assert isinstance(engine("no-such-vllm"), LocalEngine)
    assert isinstance(engine(sys.executable), VLLMEngine)
