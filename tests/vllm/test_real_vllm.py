"""The real vLLM with a real chat model, beside Retort's own engine: `make test-vllm` installs both and runs this."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from retort.config.data import SamplingConfig
from retort.config.models import VLLMEngineConfig
from retort.engines.base import Request, plan_requests
from retort.engines.local import LocalEngine
from retort.engines.vllm import VLLMEngine
from retort.errors import EngineError
from retort.modeling.loading import Reference, write_reference

if "RETORT_VLLM" not in os.environ or "RETORT_SMOLLM2" not in os.environ:
    pytest.skip("the real vLLM: `make test-vllm` installs it (6 GB) and runs these", allow_module_level=True)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

QUESTIONS = (
    "What is 2 + 3?",
    "Name the capital of France.",
    "Sam has 7 hats. Sam loses 2. How many hats now?",
    "Write one short sentence about the sea.",
    "What colour is the sky on a clear day?",
    "Count from one to five.",
)
ROWS = [{"prompt_id": str(number), "prompt": question} for number, question in enumerate(QUESTIONS)]


def sampling(temperature: float, **more) -> SamplingConfig:
    return SamplingConfig(temperatures=[temperature], samples=1, max_new_tokens=16, **more)


def answered(engine, requests, config):
    found = [response for batch in engine.generate(requests, config) for response in batch]
    return {response.key: response for response in found}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("project") / "outputs/models/teacher"
    source = str(Path(os.environ["RETORT_SMOLLM2"], "model").absolute())
    write_reference(made, Reference(source, dtype="float32"))
    return made


@pytest.fixture(scope="module")
def served(folder, server_settings):
    config = VLLMEngineConfig(**server_settings)
    with VLLMEngine(config, folder, file="questions", logs=folder.parents[2] / "logs") as engine:
        yield engine


@pytest.fixture(scope="module")
def local(folder) -> LocalEngine:
    return LocalEngine(folder, file="questions", training=False)


def test_greedy_responses_are_those_of_the_local_engine(served, local):
    config = sampling(0.0)
    requests = plan_requests(ROWS, config, seed=0, stage="x")
    theirs, ours = answered(served, requests, config), answered(local, requests, config)
    assert [theirs[key] for key in ours] == [ours[key] for key in ours]


def test_begun_answers_and_stop_texts_are_those_of_the_local_engine(served, local):
    begun = [{"role": "user", "content": QUESTIONS[5]}, {"role": "assistant", "content": "1, 2,"}]
    requests = [
        Request("begun", json.dumps(begun), 0, 0.0, 1, form="conversation"),
        Request("stop", json.dumps(begun), 0, 0.0, 1, form="conversation", stop=(" 4",)),
        Request("text", "One, two, three,", 0, 0.0, 1, form="text", stop=("\n",)),
    ]
    theirs, ours = answered(served, requests, sampling(0.0)), answered(local, requests, sampling(0.0))
    assert [theirs[key] for key in ours] == [ours[key] for key in ours]
    assert " 4" not in theirs["stop", 0].response


def test_a_seed_gives_the_same_response_alone_and_among_others(served):
    config = sampling(1.0)
    requests = plan_requests(ROWS, config, seed=0, stage="x")
    together = answered(served, requests, config)
    alone = answered(served, [requests[3]], config)
    assert alone[requests[3].key] == together[requests[3].key]


def test_log_probabilities_are_those_of_the_sampling_temperature(served, local):
    config = sampling(0.7, logprobs=True)
    requests = plan_requests(ROWS, config, seed=0, stage="x")
    for (prompt_id, _), response in answered(served, requests, config).items():
        again = Request(prompt_id, QUESTIONS[int(prompt_id)], 0, 0.7, 0)
        scored = _mean_logprob(local, again, response.response, finished=response.finish_reason == "stop")
        assert response.mean_logprob == pytest.approx(scored, abs=1e-3)


def _mean_logprob(local, request, text, *, finished):
    """Of the response's tokens by one forward pass at the request's temperature."""
    import torch

    from retort.modeling.chat import prompt_ids, response_ids

    before, after = prompt_ids(local.tokenizer, request.prompt), response_ids(local.tokenizer, text, finished=finished)
    with torch.no_grad():
        logits = local.weights(torch.tensor([[*before, *after]])).logits[0, len(before) - 1 : -1]
    scores = (logits.float() / request.temperature).log_softmax(1)
    return float(scores.gather(1, torch.tensor(after)[:, None]).mean())


def test_log_likelihoods_are_those_of_the_local_engine(served, local):
    encode = local.tokenizer
    pairs = [
        (encode("The capital of France is").input_ids, encode(word).input_ids)
        for word in (" Paris", " Berlin", " a big city")
    ]
    theirs, ours = served.log_likelihoods(pairs, batch_size=4), local.log_likelihoods(pairs, batch_size=4)
    assert [score for score, _ in theirs] == pytest.approx([score for score, _ in ours], abs=1e-3)
    assert [greedy for _, greedy in theirs] == [greedy for _, greedy in ours]


def test_a_server_that_is_killed_is_told_at_once(served):  # the last one: nothing is served after it
    config = sampling(1.0)
    os.killpg(served._server._server.pid, signal.SIGKILL)
    with pytest.raises(EngineError, match=r"ended with signal 9[\s\S]*last words"):
        answered(served, plan_requests(ROWS, config, seed=1, stage="x"), config)
