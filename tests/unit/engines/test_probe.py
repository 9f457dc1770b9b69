"""What a probe tells of an endpoint before anything long is paid for."""

from __future__ import annotations

import logging

import pytest

from retort.config.data import SamplingConfig
from retort.config.endpoint import EndpointConfig
from retort.engines.endpoint import EndpointEngine
from retort.engines.probe import probe, probe_of, probe_once
from retort.errors import BudgetError, ConfigError
from tests.endpoint_stand_in import GOOD, changed, choice, draws, message, text_of

SAMPLING = SamplingConfig(max_new_tokens=500)


def made(server, sampling=SAMPLING, **more):
    with EndpointEngine(EndpointConfig(base_url=server.url, model="m", api_key_env=None, **more)) as engine:
        return probe(engine, sampling)


def test_an_honest_endpoint_has_nothing_against_it(serve):
    server = serve(say=draws)
    found = made(server)
    assert (found.temperature_honoured, found.seed_honoured, found.turn_ended) == (True, True, True)
    assert (found.tokens_counted, found.logprobs_given, found.reasoning_given) == (True, None, False)
    assert found.warnings() == []
    assert [body["max_tokens"] for body in server.asked] == [64] * 4
    assert found.prompt_tokens == 4 * 11


def test_one_that_answers_greedily_whatever_it_is_told_is_found(serve):
    found = made(serve(say=lambda body: message(text_of(body))))
    assert (found.temperature_honoured, found.seed_honoured) == (False, None)
    assert "seems to ignore the temperature" in found.warnings()[0]


def test_one_that_ignores_seeds_is_found(serve):
    texts = iter("abcd")
    found = made(serve(say=lambda _: message(next(texts))), concurrency=1)
    assert (found.temperature_honoured, found.seed_honoured) == (True, False)


def test_fields_that_it_refuses_are_in_the_result(serve):
    server = serve(say=draws, refuse=lambda body: (400, "unknown field 'top_p'") if "top_p" in body else None)
    assert made(server).fields_left_out == ["top_p"]


@pytest.mark.parametrize(
    ("body", "ended"),
    [(choice(finish_reason="length"), False), (message("yes<|im_end|>\n<|im_start|>user"), False), (GOOD, True)],
)
def test_a_turn_that_does_not_end_is_found(serve, body, ended):
    assert made(serve(say=lambda _: body)).turn_ended is ended


def test_log_probabilities_and_counts_that_do_not_come_are_found(serve):
    found = made(serve(say=lambda _: changed(usage=None)), SAMPLING.model_copy(update={"logprobs": True}))
    assert (found.logprobs_given, found.tokens_counted) == (False, False)


def test_nothing_is_concluded_from_responses_without_text(serve):
    found = made(serve(say=lambda _: choice(message={"content": None}, finish_reason="length")))
    assert (found.temperature_honoured, found.seed_honoured) == (None, None)


def test_a_wrong_key_is_said_before_the_first_batch(serve):
    with pytest.raises(ConfigError, match="refuses a request without a key"):
        made(serve(refuse=lambda _: (401, "no")))


def test_a_budget_counts_the_probe(serve):
    with pytest.raises(BudgetError):
        made(serve(), budget={"requests": 3}, concurrency=1)


def test_a_task_that_goes_on_is_not_probed_again_and_remembers_what_was_found(serve, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    server = serve(say=draws)
    config = EndpointConfig(base_url=server.url, model="m", api_key_env=None)
    with EndpointEngine(config) as engine:
        probe_once(engine, SAMPLING, tmp_path, None)
        probe_once(engine, SAMPLING, tmp_path, None)
        assert len(server.asked) == 4
        assert probe_of(engine, SAMPLING, tmp_path)["temperature_honoured"] is True
    assert "'temperature_honoured': True" in caplog.text
