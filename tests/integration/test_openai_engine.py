"""The endpoint engine against a real server: `transformers serve` on a tiny model."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from retort.config.data import SamplingConfig
from retort.config.endpoint import EndpointConfig
from retort.engines.base import plan_requests
from retort.engines.endpoint import EndpointEngine
from retort.engines.local import LocalEngine
from retort.engines.log import answer
from retort.engines.probe import probe
from retort.errors import ConfigError, RetortError
from retort.io import tables
from retort.io.objects import Objects
from retort.io.rows import read_records
from retort.run.stage import run_stage
from tests.conftest import write_params

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.timeout(600)
"""The server imports for half a minute, and longer on a machine that is busy."""

SAMPLING = SamplingConfig(temperatures=[0.0, 1.0], samples=1, max_new_tokens=8)
PROMPTS = [{"prompt_id": f"p{index}", "prompt": f"{index} cards ?"} for index in range(4)]


@pytest.fixture(scope="module")
def server(tmp_path_factory, tiny_tokenizer, tiny_model):
    """Base URL of `transformers serve` and the folder of the model it serves."""
    folder = tmp_path_factory.mktemp("served") / "model"
    model = tiny_model()
    # Random weights never end a text: from token 20 on, each step multiplies the end token's score.
    model.generation_config.exponential_decay_length_penalty = (20, 5.0)
    model.save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    program = shutil.which("transformers", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    assert program, "transformers[serving] is a development dependency"
    log = (folder.parent / "log").open("wb")
    process = subprocess.Popen(
        [program, "serve", str(folder), "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"],
        stdout=log,
        stderr=subprocess.STDOUT,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
    )
    try:
        _wait(process, port, folder.parent / "log")
        yield f"http://127.0.0.1:{port}/v1", folder
    finally:
        process.terminate()
        process.wait(30)
        log.close()


def _wait(process, port, log):
    deadline = time.monotonic() + 500
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise AssertionError(f"transformers serve did not answer: {log.read_text()}")


def ask(url, model, **more):
    config = EndpointConfig(base_url=url, model=model, api_key_env=None, concurrency=2, **more)
    with EndpointEngine(config) as engine:
        requests = plan_requests(PROMPTS, SAMPLING, seed=0, stage="teacher_responses")
        return {response.key: response for batch in engine.generate(requests, SAMPLING) for response in batch}


def test_greedy_answers_equal_the_local_engine_s(server):
    url, folder = server
    requests = plan_requests(PROMPTS, SAMPLING, seed=0, stage="teacher_responses")
    local = {
        response.key: response
        for batch in LocalEngine(folder, file="x").generate(requests, SAMPLING)
        for response in batch
    }
    served = ask(url, str(folder))
    assert served.keys() == local.keys()
    for key, response in served.items():
        assert response.prompt_tokens == local[key].prompt_tokens
        assert 0 < response.response_tokens <= SAMPLING.max_new_tokens
        assert response.finish_reason in ("stop", "length")
        if response.temperature == 0:
            # A served text may be stripped of surrounding white space.
            assert response.response.strip() == local[key].response.strip()


def test_the_stage_asks_the_server_and_counts_tokens(server, tmp_path, tiny_model_folder, monkeypatch):
    url, folder = server
    monkeypatch.setenv("RETORT_TEST_KEY", "any")
    tiny_model_folder(name="student")
    rows = [row | {"answer": None, "source": "x", "row": 1} for row in PROMPTS]
    tables.write_table(tmp_path / "outputs/prompts/train.parquet", rows[:3], tables.PROMPTS)
    tables.write_table(tmp_path / "outputs/prompts/validation.parquet", rows[3:], tables.PROMPTS)
    engine = {
        "type": "openai",
        "base_url": url,
        "model": str(folder),
        "api_key_env": "RETORT_TEST_KEY",
        "concurrency": 2,
        "prompt_cost": 1.0,
        "response_cost": 10.0,
    }
    sampling = {"temperatures": [1.0], "samples": 2, "max_new_tokens": 60}
    models = {"teacher": {"engine": engine}, "base": {"source": "student"}}
    write_params(tmp_path, models=models, teacher_responses={"shards": [0]} | sampling)
    run_stage("models", {}, tmp_path)
    metrics = run_stage("teacher_responses", {"shard": "0"}, tmp_path)
    table = tables.read_table(tmp_path / "outputs/teacher_responses/shard-0.parquet", tables.RESPONSES)
    assert [row["prompt_id"] for row in table] == [f"p{index}" for index in range(4) for _ in range(2)]
    assert metrics["prompt_tokens"] == sum(row["prompt_tokens"] for row in table) > 0
    assert metrics["response_tokens"] == sum(row["response_tokens"] for row in table) > 0
    assert "cost" not in metrics  # prices decide no result: the report works money out from the tokens
    assert metrics["flops"] == 0
    # The random model never ends a turn in 64 tokens by itself; the server counts them.
    assert metrics["probe"]["tokens_counted"] is True


def test_a_benchmark_gives_the_endpoint_s_model_the_score_of_the_same_model_run_here(server, tmp_path, monkeypatch):
    url, folder = server
    monkeypatch.setenv("RETORT_TEST_KEY", "any")
    shutil.copytree(folder, tmp_path / "student")
    questions = [row for _, row in read_records(ROOT / "data/gsm8k/gsm8k_test_questions.jsonl.gz")]
    short = sorted(questions, key=lambda row: len(row["question"]))[:10]  # the tiny model's context is 256 tokens
    (tmp_path / "gsm8k.jsonl").write_text("".join(json.dumps(row) + "\n" for row in short))
    engine = {"type": "openai", "base_url": url, "model": str(folder), "api_key_env": "RETORT_TEST_KEY"}
    benchmark = {"name": "gsm8k", "task": "gsm8k", "data": {"test": "gsm8k.jsonl"}, "num_fewshot": 0}
    evaluate = {"benchmarks": [benchmark | {"prompt": "{{question}}", "max_new_tokens": 16}]}
    prices = {"prompt_cost": 1.0, "response_cost": 10.0}
    (tmp_path / "outputs/prompts").mkdir(parents=True)
    models = {"teacher": {"engine": engine | prices}, "base": {"source": "student"}}
    write_params(tmp_path, models=models, evaluate=evaluate, prompts={"decontaminate": ["gsm8k.jsonl"]})
    run_stage("models", {}, tmp_path)
    found = {}
    for model in ("teacher", "base"):
        metrics = run_stage("evaluate", {"model": model, "benchmark": "gsm8k"}, tmp_path)
        rows = tables.read_table(tmp_path / f"outputs/evaluate/{model}-gsm8k.parquet", tables.RESULTS)
        found[model] = [(row["item_id"], row["response"].strip(), row["prompt_tokens"]) for row in rows]
        assert (metrics["flops"] > 0) == (model == "base")
        assert "cost" not in metrics
    assert found["teacher"] == found["base"]
    assert len(found["base"]) == 10


def test_a_real_server_is_probed(server):
    """`transformers serve` samples only where the model's generation config says so, whatever temperature is asked."""
    url, folder = server
    with EndpointEngine(EndpointConfig(base_url=url, model=str(folder), api_key_env=None)) as engine:
        found = probe(engine, SAMPLING.model_copy(update={"max_new_tokens": 16}))
    assert found.temperature_honoured is False
    assert found.tokens_counted is True


def test_a_field_that_a_real_server_does_not_know_is_named_with_its_setting(server):
    url, folder = server
    with pytest.raises(ConfigError, match=r"models\.teacher\.engine\.extra_body: .* does not take 'top_k'"):
        ask(url, str(folder), extra_body={"top_k": 5})


def test_what_was_asked_of_a_real_server_once_is_not_asked_again(server, tmp_path):
    """`transformers serve` samples anew each time, and says nothing of log-probabilities that it is asked for."""
    url, folder = server
    store = Objects.of(str(tmp_path / "store"), "responses")
    for samples, new in ((1, 8), (2, 8), (2, 0)):
        sampling = SAMPLING.model_copy(update={"samples": samples, "logprobs": True})
        config = EndpointConfig(base_url=url, model=str(folder), api_key_env=None, concurrency=samples)
        requests = plan_requests(PROMPTS, sampling, seed=0, stage="teacher_responses")
        with EndpointEngine(config, store=store) as engine:
            found = answer(engine, requests, sampling, tmp_path / f"{samples}-{new}.jsonl", words="teacher")
            assert engine.spent.completions == new
        assert len(found) == 8 * samples
        assert {one.mean_logprob for one in found} == {None}


def test_a_model_that_the_server_does_not_have_is_named_and_not_retried(server, tmp_path):
    url, _ = server
    with pytest.raises(RetortError, match="no-such-model") as caught:
        ask(url, str(tmp_path / "no-such-model"), max_retries=0)
    assert caught.value.exit_code in (64, 65)
