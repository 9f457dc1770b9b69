"""What is a completion, what is not, and what it stands for."""

from __future__ import annotations

import json

import pytest

from retort.engines.checked import checked_response
from retort.engines.completion import NoCompletionError, read_completion
from tests.endpoint_stand_in import NO_COMPLETIONS, changed, choice, message

TAGS = ("<think>", "</think>")


def read(body):
    return read_completion((body if isinstance(body, str) else json.dumps(body)).encode(), TAGS)


@pytest.mark.parametrize("name", NO_COMPLETIONS)
def test_what_is_no_completion_stands_for_a_status_that_is_tried_again(name):
    with pytest.raises(NoCompletionError) as caught:
        read(NO_COMPLETIONS[name])
    assert caught.value.status in (429, 500, 502)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ({"message": "x", "code": "429"}, 429),
        ({"message": "x", "code": None, "type": "rate_limit_error"}, 429),
        ({"message": "x", "type": "overloaded_error"}, 529),
        ({"message": "x", "code": "invalid_api_key"}, 401),
        ({"message": "x", "code": 404}, 404),
        ({"message": "x", "status": 503, "code": "busy"}, 503),
        ("oops", 502),
    ],
)
def test_an_error_in_a_body_stands_for_its_own_status(error, status):
    with pytest.raises(NoCompletionError) as caught:
        read({"error": error})
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        ({"prompt_tokens": 5, "completion_tokens": None}, (5, 0)),
        ({"prompt_tokens": "5", "completion_tokens": 6.0}, (5, 6)),
        ({"prompt_tokens": -1, "completion_tokens": 2**40}, (0, 0)),
        ({"prompt_tokens": True, "completion_tokens": [1]}, (0, 0)),
        ({"prompt_tokens": float("nan"), "completion_tokens": 1.5}, (0, 0)),
        (None, (0, 0)),
        ("none", (0, 0)),
    ],
)
def test_a_count_that_is_none_is_not_known(usage, counts):
    found = read(changed(usage=usage))
    assert (found.prompt_tokens, found.response_tokens) == counts


def test_half_a_surrogate_pair_is_replaced_and_a_whole_one_kept():
    found = read('{"choices": [{"finish_reason": "stop", "message": {"content": "18 \\ud83d and \\ud83d\\ude00"}}]}')
    assert (found.text, found.repaired) == ("18 \N{REPLACEMENT CHARACTER} and \N{GRINNING FACE}", True)
    found.text.encode()
    assert not read(message("18 \N{GRINNING FACE}")).repaired


@pytest.mark.parametrize(
    ("content", "text", "reasoning"),
    [
        ([{"type": "text", "text": "The answer "}, {"type": "text", "text": "is 18."}], "The answer is 18.", None),
        ([{"type": "output_text", "text": "18"}, "!"], "18!", None),
        (
            [{"type": "thinking", "thinking": "16 + 2"}, {"type": "text", "text": "18"}],
            "18",
            "<think>\n16 + 2\n</think>\n\n",
        ),
        (
            [{"type": "thinking", "thinking": [{"type": "text", "text": "16 + 2"}]}, {"type": "text", "text": "18"}],
            "18",
            "<think>\n16 + 2\n</think>\n\n",
        ),
        ([], "", None),
        (None, "", None),
    ],
)
def test_content_in_parts_is_joined_and_thought_is_told_apart(content, text, reasoning):
    found = read(message(content))
    assert (found.text, found.reasoning) == (text, reasoning)


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_that_comes_apart_is_put_between_the_tags(field):
    found = read(message("18", **{field: " 9 * 2 = 18\n"}))
    assert (found.text, found.reasoning) == ("18", "<think>\n9 * 2 = 18\n</think>\n\n")


@pytest.mark.parametrize(
    ("said", "reasoning", "text"),
    [
        ("<think>\n9 * 2\n</think>\n\n18", "<think>\n9 * 2\n</think>\n\n", "18"),
        ("9 * 2</think>18", "9 * 2</think>", "18"),  # the chat template has opened it
        ("<think>9 * 2 = ", "<think>9 * 2 = ", ""),  # cut off inside
        ("18, by <think>x</think>", None, "18, by <think>x</think>"),
        ("18", None, "18"),
    ],
)
def test_reasoning_inside_the_text_is_split_off_and_together_they_are_what_was_said(said, reasoning, text):
    found = read(message(said))
    assert (found.reasoning, found.text) == (reasoning, text)
    assert (found.reasoning or "") + found.text == said


def test_a_filter_that_took_the_message_away_is_a_response_that_is_not_whole():
    found = read(choice(message=None, finish_reason="content_filter"))
    assert (found.text, found.finish_reason) == ("", "content_filter")
    assert read(message(None, refusal="I cannot.")).finish_reason == "refusal"


@pytest.mark.parametrize(
    ("values", "expected"),
    [([-1.0, -2.0], (-1.0, -2.0)), ([-1.0, None], ()), ([-1.0, float("-inf")], ()), ([-1, "-2"], ()), ([], ())],
)
def test_log_probabilities_that_are_no_numbers_are_not_known(values, expected):
    told = {"content": [{"token": "a", "logprob": value} for value in values]}
    assert read(choice(logprobs=told)).logprobs == expected


def test_a_response_of_the_other_interface_is_read_with_its_reasoning_and_its_end():
    body = {
        "object": "response",
        "status": "incomplete",
        "incomplete_details": {"reason": "max_output_tokens"},
        "output": [
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "nine times two"}]},
            {"type": "message", "content": [{"type": "output_text", "text": "The answer is 1"}]},
        ],
        "usage": {"input_tokens": 7, "output_tokens": 9},
    }
    found = read(body)
    assert (found.text, found.reasoning) == ("The answer is 1", "<think>\nnine times two\n</think>\n\n")
    assert (found.finish_reason, found.prompt_tokens, found.response_tokens) == ("length", 7, 9)
    assert read(body | {"status": "completed"}).finish_reason == "stop"


ODD = [
    None, True, -1, 10**400, 1e999, "", "x", "\ud83d", [], {}, [None], [[]], {"a": 1}, {"type": "stop"},
    [{"text": 5}], "9" * 50,
]  # fmt: skip
"""Values that servers put where others belong."""


def places(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in items:
        yield from places(one, (*path, key))


def replaced(value, path, odd):
    if not path:
        return odd
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], odd)
    return copy


WHOLE_ANSWER = choice(
    message={"role": "assistant", "content": [{"type": "text", "text": "18"}], "reasoning_content": "a", "refusal": ""},
    logprobs={"content": [{"logprob": -1.0}]},
)


@pytest.mark.parametrize("path", list(places(WHOLE_ANSWER)), ids=str)
def test_any_odd_value_at_any_place_is_a_row_of_a_table_or_no_completion(path):
    for odd in ODD:
        try:
            found = read_completion(json.dumps(replaced(WHOLE_ANSWER, path, odd)).encode(), TAGS)
        except NoCompletionError:
            continue
        checked_response(
            {"prompt_id": "p", "sample": 0, "model": "m", "temperature": 1.0, "seed": 0, "response": found.text}
            | {
                name: getattr(found, name)
                for name in ("finish_reason", "prompt_tokens", "response_tokens", "reasoning")
            }
            | {"mean_logprob": sum(found.logprobs) if found.logprobs else None}
        )


def test_of_several_choices_the_first_by_its_number_is_read():
    choices = [choice(index=1, finish_reason="length")["choices"][0], message("18")["choices"][0]]
    assert read(changed(choices=choices)).text == "18"


@pytest.mark.parametrize(
    ("fields", "text", "reasoning"),
    [
        ({"reasoning_content": "a", "content": "<think>\na\n</think>\n\n18"}, "18", "a"),
        ({"reasoning_details": [{"type": "reasoning.text", "text": "a"}], "content": "18"}, "18", "a"),
        ({"thinking": "a", "content": "18"}, "18", "a"),
        ({"reasoning": {"content": "a"}, "content": "18"}, "18", "a"),
        ({"reasoning": {"effort": 3}, "content": "18"}, "18", None),
    ],
)
def test_reasoning_under_any_name_is_kept_once(fields, text, reasoning):
    found = read(choice(message=fields))
    kept = None if reasoning is None else f"<think>\n{reasoning}\n</think>\n\n"
    assert (found.text, found.reasoning) == (text, kept)


def test_a_refusal_among_the_parts_is_no_whole_answer():
    found = read(message([{"type": "refusal", "refusal": "I cannot."}]))
    assert (found.text, found.finish_reason) == ("I cannot.", "refusal")
