"""The endpoint engine against a small HTTP server that fails on purpose."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest

from retort.config.data import SamplingConfig
from retort.config.endpoint import Budget, EndpointConfig
from retort.engines.base import plan_requests
from retort.engines.endpoint import EndpointEngine
from retort.engines.log import answer, read_log
from retort.errors import BudgetError, ConfigError, EngineError, InputError, RetortError
from tests.endpoint_stand_in import NO_COMPLETIONS, choice, message, text_of

SAMPLING = SamplingConfig(temperatures=[0.5, 1.0], samples=2, max_new_tokens=7, top_p=0.9)
PROMPTS = [{"prompt_id": f"p{index}", "prompt": f"what is {index} ?"} for index in range(5)]
REQUESTS = plan_requests(PROMPTS, SAMPLING, seed=0, stage="teacher_responses")


def engine(server, place="models.teacher.engine", **more):
    url = server if isinstance(server, str) else server.url
    config = EndpointConfig(base_url=url, model="m", **({"api_key_env": None} | more))
    return EndpointEngine(config, place=place)


def ask(server, requests=REQUESTS, done=(), **more):
    with engine(server, **more) as one:
        return [response for batch in one.generate(requests, SAMPLING, done) for response in batch]


@pytest.mark.parametrize("form", ["message", "text"])
def test_log_probabilities_are_asked_for_only_when_wanted(serve, form):
    server, (request, *_) = serve(), REQUESTS
    for wanted, expected in ((False, None), (True, -3.0)):
        with engine(server) as one:
            sampling = SAMPLING.model_copy(update={"logprobs": wanted})
            ((response,),) = one.generate([replace(request, form=form)], sampling)
        assert response.mean_logprob == expected
        assert ("logprobs" in server.asked[-1]) is wanted


def test_each_request_is_answered_once_with_its_settings(serve):
    server = serve()
    found = {response.key: response for response in ask(server)}
    assert found.keys() == {request.key for request in REQUESTS}
    one = found["p3", 2]
    assert (one.response, one.finish_reason, one.prompt_tokens, one.response_tokens) == ("WHAT IS 3 ?", "stop", 11, 3)
    assert Counter(body["temperature"] for body in server.asked) == {0.5: 10, 1.0: 10}
    assert {(body["max_tokens"], body["top_p"]) for body in server.asked} == {(7, 0.9)}
    assert len({body["seed"] for body in server.asked}) == len(REQUESTS)


def test_429_and_500_are_tried_again_and_the_log_says_how_often(serve, caplog):
    server = serve([429, 500])
    assert len(ask(server)) == len(REQUESTS)
    assert set(server.attempts.values()) == {3}
    assert "attempts that were made again: status 429: 20, status 500: 20" in caplog.text


@pytest.mark.parametrize("name", NO_COMPLETIONS)
def test_a_200_that_is_no_completion_is_tried_again(serve, name):
    server = serve(bodies=[NO_COMPLETIONS[name]] * 2)
    assert len(ask(server, REQUESTS[:2], concurrency=1)) == 2
    assert len(server.asked) == 4


def test_one_answer_that_never_is_a_completion_costs_one_answer(serve, caplog):
    server = serve(say=lambda body: "<html>" if "is 3" in text_of(body) else message("18"))
    few = [request for request in REQUESTS if request.prompt_id != "p3" or request.sample == 0]
    found = {response.key: response for response in ask(server, few, max_retries=1, max_missing_share=0.06)}
    assert found.keys() == {request.key for request in few}
    assert found["p3", 0].finish_reason == "no_completion"
    assert "1 of 17 requests stay without a response" in caplog.text
    with pytest.raises(EngineError, match="answered with no completion after 2 attempts"):
        ask(server, few, max_retries=1)


def test_an_error_in_a_body_is_explained_as_the_status_that_it_stands_for(serve):
    body = {"error": {"message": "no such key", "code": 401}}
    with pytest.raises(ConfigError, match="refuses a request without a key"):
        ask(serve(say=lambda _: body), REQUESTS[:1])


def test_a_request_that_fails_for_long_does_not_take_the_others_along(serve, tmp_path):
    server = serve(refuse=lambda body: (503, "busy") if "is 3" in text_of(body) else None)
    log = tmp_path / "responses.jsonl"
    with engine(server, max_retries=1) as one, pytest.raises(EngineError, match="4 of 20 requests failed"):
        answer(one, REQUESTS, SAMPLING, log, words="teacher")
    assert Counter(prompt_id for prompt_id, _ in read_log(log)) == {"p0": 4, "p1": 4, "p2": 4, "p4": 4}


def test_an_endpoint_that_is_away_is_not_asked_for_everything(serve):
    server = serve([503] * 99)
    with pytest.raises(EngineError, match=r"requests failed; the first: .*503 after 1 attempts"):
        ask(server, max_retries=0, concurrency=1)
    assert len(server.asked) == 8


def test_an_endpoint_that_stays_away_is_a_retryable_error_after_its_attempts(serve):
    server = serve([503] * 99)
    with pytest.raises(EngineError, match=r"503 after 3 attempts.*run the stage again"):
        ask(server, REQUESTS[:1], max_retries=2)
    assert set(server.attempts.values()) == {3}


def test_a_dead_address_is_a_retryable_error():
    with (
        pytest.raises(EngineError, match="no answer after 1 attempts"),
        engine("http://127.0.0.1:9/v1", max_retries=0) as one,
    ):
        list(one.generate(REQUESTS[:1], SAMPLING))


@pytest.mark.parametrize("concurrency", [1, 3])
def test_no_more_requests_are_under_way_than_allowed(serve, concurrency):
    server = serve(delay=0.02)
    ask(server, concurrency=concurrency)
    assert server.most == concurrency


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (401, ConfigError, "refuses a request without a key"),
        (404, ConfigError, r"does not know model 'm'.*judge\.model\.model must be a name"),
        (400, InputError, r"refuses prompt 'p0'.*correct that in judge\.model$"),
    ],
)
def test_what_no_retry_can_mend_is_said_at_once_with_the_place_in_the_configuration(serve, status, kind, words):
    server = serve(refuse=lambda _: (status, "no"))
    with pytest.raises(kind, match=words):
        ask(server, REQUESTS[:1], place="judge.model")
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [501, 505])
def test_a_server_that_says_it_never_can_is_not_asked_again(serve, status):
    server = serve(refuse=lambda _: (status, "not implemented"))
    with pytest.raises(RetortError):
        ask(server, REQUESTS[:1])
    assert len(server.asked) == 1


def test_a_missing_key_names_the_variable_and_the_place(monkeypatch):
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with (
        pytest.raises(ConfigError, match=r"NO_SUCH_KEY is not set: judge\.model\.api_key_env names it"),
        engine("http://x/v1", place="judge.model", api_key_env="NO_SUCH_KEY"),
    ):
        pass


LIMIT = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
DEFAULT = (
    "Unsupported value: 'temperature' does not support 0.5 with this model. Only the default (1) value is supported."
)


@pytest.mark.parametrize(
    ("refused", "said", "left_out"),
    [
        (lambda body: "max_tokens" in body, LIMIT, []),
        (lambda body: "stop" in body, "Unsupported parameter: 'stop' is not supported with this model.", ["stop"]),
        (lambda body: "seed" in body, "Unsupported parameter: 'seed' is not supported with this model.", ["seed"]),
        (
            lambda body: "seed" in body,
            {"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]},
            ["seed"],
        ),
        (lambda body: body.get("temperature", 1) != 1, DEFAULT, ["temperature"]),
        (
            lambda body: "top_p" in body and "temperature" in body,
            "temperature and top_p cannot both be given for this model",
            ["top_p"],
        ),
        (lambda body: body.keys() & {"seed", "top_p"}, "seed, top_p: unknown fields", ["seed", "top_p"]),
    ],
)
def test_a_field_that_is_refused_is_left_out_from_there_on_and_the_log_says_so(serve, caplog, refused, said, left_out):
    server = serve(refuse=lambda body: (400, said) if refused(body) else None)
    requests = [replace(one, stop=("Question:",)) for one in REQUESTS]
    with engine(server, concurrency=1) as one:
        found = [response for batch in one.generate(requests, SAMPLING) for response in batch]
    assert len(found) == len(REQUESTS)
    assert len(server.asked) == len(REQUESTS) + max(1, len(left_out))
    assert sorted(one.left_out) == left_out
    for name in left_out:
        assert f"refuses the field {name} and is asked without it" in caplog.text
    known = [0.5, 1.0] if "temperature" not in left_out else [-1.0, 1.0]
    assert sorted({response.temperature for response in found}) == known


def test_a_temperature_out_of_the_server_s_range_is_an_error_and_not_another_temperature(serve):
    said = "temperature: Input should be less than or equal to 0.4"
    server = serve(refuse=lambda body: (422, said) if body.get("temperature", 1) > 0.4 else None)
    with pytest.raises(InputError, match=r"less than or equal to 0\.4"):
        ask(server, REQUESTS[:1])


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"detail": "Unexpected fields in the request: {'top_k'}"}, r"extra_body: .* does not take 'top_k' as it is"),
        ({"error": {"message": "no", "param": "top_k"}}, r"extra_body: .* does not take 'top_k' as it is"),
        ({"detail": "Unexpected fields in the request: {'chat_template_kwargs'}"}, r"template_arguments: .* does not"),
        ({"detail": "top_k questions are not answered"}, r"refuses prompt 'p"),
    ],
)
def test_a_field_of_one_s_own_that_is_refused_is_named_and_not_the_prompt(serve, said, words):
    server = serve(refuse=lambda _: (422, said))
    more = {"extra_body": {"top_k": 5}, "template_arguments": {"thinking": False}}
    with pytest.raises(RetortError, match=words):
        ask(server, **more)


def test_a_prompt_that_a_policy_refuses_is_left_out_up_to_a_share(serve, caplog):
    said = {
        "error": {"code": "content_filter", "message": "The response was filtered by our content management policy."}
    }
    server = serve(refuse=lambda body: (400, said) if "is 3" in text_of(body) else None)
    found = {response.key: response for response in ask(server, max_missing_share=0.2)}
    assert found.keys() == {request.key for request in REQUESTS}
    refused = [key for key, response in found.items() if response.finish_reason == "refused"]
    assert sorted(refused) == [("p3", sample) for sample in range(4)]
    assert "4 of 20 requests stay without a response" in caplog.text
    with pytest.raises(InputError, match=r"max_missing_share: 0\.1\).*prompt 'p3': a policy refuses it"):
        ask(server, max_missing_share=0.1)


@pytest.mark.parametrize(
    "said",
    [
        "Content Exists Risk",
        "data_inspection_failed: Input data may contain inappropriate content",
        "Your input was flagged by our moderation system",
        "violates our usage policies",
    ],
)
def test_policies_are_known_in_the_words_of_several_providers(serve, said):
    (found,) = ask(serve(refuse=lambda _: (400, said)), REQUESTS[:1], max_missing_share=1)
    assert found.finish_reason == "refused"


def test_system_prompt_template_arguments_headers_and_other_fields_are_sent(serve, monkeypatch):
    monkeypatch.setenv("TENANT", "blue")
    server = serve()
    more = {"system": "be brief", "template_arguments": {"enable_thinking": False}, "extra_body": {"top_k": 20}}
    turns = json.dumps([{"role": "system", "content": "in French"}, {"role": "user", "content": "2 ?"}])
    asked = [REQUESTS[0], replace(REQUESTS[1], prompt=turns, form="conversation")]
    ask(server, asked, concurrency=1, headers={"X-Tenant": "${TENANT}/1"}, **more)
    first, second = server.asked
    assert first["messages"] == [{"role": "system", "content": "be brief"}, {"role": "user", "content": "what is 0 ?"}]
    assert second["messages"][0] == {"role": "system", "content": "be brief\n\nin French"}
    assert (first["chat_template_kwargs"], first["top_k"]) == ({"enable_thinking": False}, 20)
    assert server.sent_headers[0]["x-tenant"] == "blue/1"


@pytest.mark.parametrize("name", ["temperature", "seed", "stream", "max_tokens"])
def test_fields_with_a_setting_of_their_own_are_refused_in_extra_body(name):
    with pytest.raises(ValueError, match=name):
        EndpointConfig(base_url="http://x/v1", model="m", extra_body={name: 1})


def test_reasoning_is_kept_apart_from_the_response(serve):
    server = serve(say=lambda _: message("18", reasoning_content="9 * 2"))
    (found,) = ask(server, REQUESTS[:1], reasoning_tags=["[THINK]", "[/THINK]"])
    assert (found.response, found.reasoning) == ("18", "[THINK]\n9 * 2\n[/THINK]\n\n")


@pytest.mark.parametrize(
    ("budget", "answered"),
    [
        ({"requests": 6}, 6),
        ({"tokens": 70}, 5),  # 14 tokens each
        ({"cost": 0.00055}, 5),  # 11 x 1 + 3 x 30 = 101 millionths each
        ({"requests": 100, "tokens": 1000}, 20),
    ],
)
def test_a_budget_ends_the_task_with_what_is_there_and_a_larger_one_goes_on(serve, tmp_path, budget, answered):
    server, log = serve(), tmp_path / "responses.jsonl"
    settings = {"prompt_cost": 1.0, "response_cost": 30.0, "concurrency": 1}
    with engine(server, budget=budget, **settings) as one:
        if answered < len(REQUESTS):
            with pytest.raises(BudgetError, match=r"models\.teacher\.engine\.budget: the budget .* is spent"):
                answer(one, REQUESTS, SAMPLING, log, words="teacher")
        else:
            answer(one, REQUESTS, SAMPLING, log, words="teacher")
    assert len(server.asked) == len(read_log(log)) == answered
    with engine(server, budget=budget, **settings) as one:  # what was spent before counts
        enough = answer(one, REQUESTS, SAMPLING, log, words="teacher", least_share=0.25)
    assert len(server.asked) == len(enough) == answered
    with engine(server, **settings) as one:
        assert len(answer(one, REQUESTS, SAMPLING, log, words="teacher")) == len(REQUESTS)
    assert len(server.asked) == len(REQUESTS)


def test_attempts_that_fail_count_against_the_budget(serve):
    server = serve([503] * 99)
    with pytest.raises(BudgetError), engine(server, budget=Budget(requests=3), concurrency=1) as one:
        list(one.generate(REQUESTS, SAMPLING))
    assert len(server.asked) == 3


def test_a_task_that_fails_midway_goes_on_with_what_is_missing(serve, tmp_path):
    log = tmp_path / "responses.jsonl"
    server = serve(refuse=lambda body: (401, "no credit") if "is 3" in body["messages"][0]["content"] else None)
    with pytest.raises(ConfigError), engine(server, concurrency=4) as one:
        answer(one, REQUESTS, SAMPLING, log, words="teacher")
    kept = read_log(log)
    assert len(kept) >= 12
    assert not any(prompt_id == "p3" for prompt_id, _ in kept)
    log.write_bytes(log.read_bytes() + b'{"prompt_id": "p3", "sam')

    again = serve()
    with engine(again) as one:
        responses = answer(one, REQUESTS, SAMPLING, log, words="teacher")
    assert [response.key for response in responses] == [request.key for request in REQUESTS]
    assert len(again.asked) == len(REQUESTS) - len(kept)
    # The half line is gone from the file: another kill, and the log would be read again.
    assert read_log(log).keys() == {request.key for request in REQUESTS}


@pytest.mark.parametrize(
    "spoilt",
    [
        {"response_tokens": None},
        {"response": ["a", "b"]},
        {"response": "18 \ud83d"},
        {"prompt_tokens": 2**40},
        {"mean_logprob": float("nan")},
        {"sample": "0"},
        {"more": 1},
    ],
)
def test_a_log_with_a_line_that_no_table_can_hold_asks_for_that_one_again(serve, tmp_path, caplog, spoilt):
    log, server = tmp_path / "responses.jsonl", serve()
    with engine(server) as one:
        answer(one, REQUESTS, SAMPLING, log, words="teacher")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    log.write_text(
        "".join(json.dumps(line | (spoilt if place == 4 else {})) + "\n" for place, line in enumerate(lines))
    )
    with engine(server) as one:
        assert len(answer(one, REQUESTS, SAMPLING, log, words="teacher")) == len(REQUESTS)
    assert len(server.asked) == len(REQUESTS) + 1
    assert "1 lines are no responses and are asked for again" in caplog.text


def test_values_that_no_table_can_hold_never_reach_the_log(serve, tmp_path):
    usage = {"prompt_tokens": 5, "completion_tokens": None}
    bad = message("18 \ud83d") | {"usage": usage}
    log = tmp_path / "responses.jsonl"
    with engine(serve(say=lambda _: bad)) as one:
        responses = answer(one, REQUESTS, SAMPLING, log, words="teacher")
    assert {(one.response, one.prompt_tokens, one.response_tokens) for one in responses} == {
        ("18 \N{REPLACEMENT CHARACTER}", 5, 0)
    }
    assert len(read_log(log)) == len(REQUESTS)


def test_missing_text_is_an_empty_response(serve):
    assert ask(serve(say=lambda _: message("")), REQUESTS[:1])[0].response == ""


def test_stop_texts_are_sent_and_cut_at_even_where_the_server_ignores_them(serve):
    server = serve(say=lambda _: message("4\n\nQuestion: and 5 ?"))
    asked = [replace(REQUESTS[0], stop=("</s>", "Question:", "a", "b", "c"))]
    (response,) = ask(server, asked)
    assert server.asked[0]["stop"] == ["</s>", "Question:", "a", "b"]  # OpenAI's interface takes four
    assert (response.response, response.finish_reason) == ("4\n\n", "stop")


def test_a_conversation_is_sent_as_it_is_and_text_to_the_plain_completions(serve):
    server = serve()
    turns = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "2 ?"}]
    asked = [
        replace(REQUESTS[0], prompt=json.dumps(turns), form="conversation"),
        replace(REQUESTS[4], prompt="q: 3 ?\na:", form="text"),
    ]
    found = [one.response for one in ask(server, asked, concurrency=1)]
    assert server.asked[0]["messages"] == turns
    assert server.asked[1]["prompt"] == "q: 3 ?\na:"
    assert "messages" not in server.asked[1]
    assert found == ["2 ?", "Q: 3 ?\nA:"]


def test_a_server_that_asks_for_more_patience_than_anyone_has_is_away(serve):
    server = serve([429] * 9, headers={"Retry-After": "86400"})
    with pytest.raises(EngineError, match="status 429 after 1 attempts"):
        ask(server, REQUESTS[:1])


def test_what_a_filter_cut_keeps_its_reason(serve):
    server = serve(say=lambda _: choice(finish_reason="content_filter"))
    assert ask(server, REQUESTS[:1])[0].finish_reason == "content_filter"


def test_an_error_that_quotes_a_prompt_does_not_change_how_the_others_are_asked(serve):
    """The word in the prompt is no field: the request stays refused without it, so the field is sent again."""
    said = "Invalid prompt: seed and temperature of the text are unsupported"
    server = serve(refuse=lambda body: (400, said) if "is 3" in text_of(body) else None)
    with engine(server, concurrency=1) as one:
        with pytest.raises(InputError, match="Invalid prompt"):
            list(one.generate(REQUESTS, SAMPLING))
        assert one.left_out == {}


def test_a_limit_that_is_refused_under_both_names_ends(serve):
    said = "max_tokens or max_completion_tokens: use max_tokens instead of max_completion_tokens"
    server = serve(refuse=lambda _: (400, said))
    with pytest.raises(InputError):
        ask(server, REQUESTS[:1])
    assert len(server.asked) == 3


def test_a_prompt_that_is_too_long_costs_one_answer(serve, caplog):
    said = (
        "'max_tokens' or 'max_completion_tokens' is too large: 7. This model's maximum context length is 4096 tokens "
        "and your request has 5000 input tokens"
    )
    server = serve(refuse=lambda body: (400, said) if "is 3" in text_of(body) else None)
    found = ask(server, max_missing_share=0.2)
    assert Counter(one.finish_reason for one in found) == {"stop": 16, "prompt_too_long": 4}
    assert "4 of 20 requests stay without a response (prompt_too_long: 4)" in caplog.text
    with pytest.raises(InputError, match=r"it is too long .*lower max_new_tokens"):
        ask(server)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("localhost:8000/v1", "is no address"),
        ("http://", "is no address"),
        ("http://x:abc/v1", "is no address"),
        ("https://x/v1/chat/completions", "leave /chat/completions out"),
    ],
)
def test_what_is_no_address_is_refused_before_anything_is_asked(url, words):
    with pytest.raises(ValueError, match=words):
        EndpointConfig(base_url=url, model="m")


def test_a_key_with_the_line_break_of_its_file_is_read_and_one_that_no_header_holds_refused(serve, monkeypatch):
    server = serve()
    monkeypatch.setenv("KEY", "abc\n")
    ask(server, REQUESTS[:1], api_key_env="KEY")
    assert server.sent_headers[0]["authorization"] == "Bearer abc"
    monkeypatch.setenv("KEY", "\u201cabc\u201d")
    with pytest.raises(ConfigError, match=r"KEY has at character 1 one that no header can hold"):
        ask(server, REQUESTS[:1], api_key_env="KEY")


def test_a_proxy_of_an_unknown_kind_is_named(serve, monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "socks://127.0.0.1:1")
    with pytest.raises(ConfigError, match=r"no client can be made .*ALL_PROXY"):
        ask(serve(), REQUESTS[:1])
