"""Responses are kept by what was asked: nothing is paid for twice, whatever else changes."""

from __future__ import annotations

import gzip
from dataclasses import replace

import pytest

from retort.config.data import SamplingConfig
from retort.config.endpoint import EndpointConfig
from retort.engines.base import plan_requests
from retort.engines.endpoint import EndpointEngine
from retort.engines.log import answer
from retort.errors import EngineError
from retort.io.objects import Objects
from tests.endpoint_stand_in import draws, message, text_of

SAMPLING = SamplingConfig(temperatures=[0.5, 1.0], samples=2, max_new_tokens=7)


def plan(prompts=3, seed=0, **more):
    rows = [{"prompt_id": f"p{index}", "prompt": f"what is {index} ?"} for index in range(prompts)]
    return plan_requests(rows, SAMPLING.model_copy(update=more), seed=seed, stage="teacher_responses")


@pytest.fixture
def asked(serve, tmp_path):
    """Runs a task with a log of its own and a store of all, and gives its responses by key and what was sent."""
    store, logs = Objects.of(str(tmp_path / "store"), "responses"), iter(range(99))

    def run(requests, sampling=SAMPLING, *, server=None, log=None, **more):
        server = server or serve(say=draws)
        before = len(server.asked)
        config = EndpointConfig(base_url=server.url, **({"model": "m", "api_key_env": None} | more))
        with EndpointEngine(config, store=store) as engine:
            log = log or tmp_path / f"log-{next(logs)}.jsonl"
            found = answer(engine, requests, sampling, log, words="teacher")
        return {one.key: one for one in found}, len(server.asked) - before

    run.store = store
    return run


@pytest.mark.parametrize(
    ("requests", "settings", "new"),
    [
        (plan(), {"concurrency": 1, "prompt_cost": 2.0, "timeout_s": 9.0, "max_retries": 0}, 0),  # and another address
        (plan(), {"budget": {"requests": 1}}, 0),
        (plan(prompts=4), {}, 4),
        (plan(samples=3), {}, 6),  # one more of three prompts at two temperatures
        (plan(temperatures=[0.5, 0.7, 1.0]), {}, 6),
        (plan(temperatures=[1.0], samples=1), {}, 0),
        (plan(seed=1), {}, 12),
        (plan(), {"model": "other"}, 12),
        (plan(), {"system": "be brief"}, 12),
        (plan(), {"extra_body": {"top_k": 1}}, 12),
        (plan(), {"template_arguments": {"enable_thinking": False}}, 12),
    ],
)
def test_only_what_is_new_is_asked_for(asked, requests, settings, new):
    first, sent = asked(plan())
    assert sent == 12
    second, sent = asked(requests, **settings)
    assert sent == new
    assert second.keys() == {request.key for request in requests}
    if new == 0 and len(requests) == 12:
        assert second == first


def test_a_longer_response_or_log_probabilities_are_another_request(asked):
    asked(plan())
    for change in ({"max_new_tokens": 8}, {"top_p": 0.9}, {"logprobs": True}):
        assert asked(plan(), SAMPLING.model_copy(update=change))[1] == 12


def test_a_response_that_was_asked_under_another_number_keeps_its_text_and_seed(asked):
    first, _ = asked(plan(samples=1))
    second, sent = asked(plan(samples=2))
    assert sent == 6
    # With one sample at each of two temperatures, number 1 is the first at 1.0; with two, number 2 is.
    assert second["p0", 2] == replace(first["p0", 1], sample=2)


def test_what_only_the_log_of_a_killed_task_has_reaches_the_store(asked, tmp_path):
    log = tmp_path / "log"
    asked(plan(), log=log)
    asked.store.remove(*asked.store.names())
    assert asked(plan(), log=log)[1] == 0
    assert asked(plan())[1] == 0


def test_what_a_failing_task_was_answered_is_kept(asked, serve):
    failing = serve(say=draws, refuse=lambda body: (503, "busy") if "is 2" in text_of(body) else None)
    with pytest.raises(EngineError):
        asked(plan(), server=failing, max_retries=0)
    assert asked(plan())[1] == 4


def test_refused_requests_are_asked_again(asked, serve):
    refusing = serve(refuse=lambda _: (400, "content_filter"))
    assert asked(plan(), server=refusing, max_missing_share=1)[0]["p0", 0].finish_reason == "refused"
    assert asked(plan())[1] == 12


@pytest.mark.parametrize("damage", [lambda data: data[:40], lambda _: b"no gzip", lambda _: gzip.compress(b"{}\n")])
def test_a_damaged_part_is_asked_for_again_and_named(asked, caplog, damage):
    asked(plan())
    (part,) = [name for name in asked.store.names() if "part-" in name]
    asked.store.write(part, damage(asked.store.read(part)))
    assert asked(plan())[1] == 12
    assert part in caplog.text


def test_a_store_that_refuses_costs_the_cache_and_not_the_stage(asked, tmp_path, caplog):
    (tmp_path / "store").write_text("a file where a folder should be")
    assert asked(plan())[1] == 12
    assert "cannot be kept in the object store" in caplog.text


def test_prompts_that_say_the_same_are_answered_apart_and_found_again(asked):
    rows = [{"prompt_id": name, "prompt": "what ?"} for name in "ab"]
    requests = plan_requests(rows, SAMPLING, seed=0, stage="x")
    assert len(asked(requests)[0]) == 8
    assert asked(requests)[1] == 0


def test_reasoning_and_counts_are_kept_with_the_response(asked, serve):
    server = serve(say=lambda _: message("18", reasoning_content="9 * 2"))
    first, _ = asked(plan(), server=server)
    assert asked(plan())[0] == first
    assert first["p0", 0].reasoning == "<think>\n9 * 2\n</think>\n\n"
