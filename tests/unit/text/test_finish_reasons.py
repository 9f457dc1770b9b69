import pytest

from retort.text.finish_reasons import NOT_RECORDED, finish_reason, is_whole, recorded_reason, unexpected, whole_text

WHOLE = [
    "stop",
    "STOP",
    "end_turn",
    "stop_sequence",
    "STOP_SEQUENCE",
    "eos_token",
    "eos",
    "COMPLETE",
    "completed",
    "FINISH",
    "FinishReason.STOP",
    "FINISH_REASON_STOP",
    "StopReason.END_TURN",
    "endTurn",
    "eosFound",
    "end_id",
    "stop_words",
    "stop_criteria_met",
    "FINISHED_STOPPED",
    "stopStringFound",
    {"type": "stop", "matched": 2},
    ["stop"],
]
CUT = [
    "length", "max_tokens", "MAX_TOKENS", "max-tokens", "model_length", "max_output_tokens",
    "FinishReason.MAX_TOKENS", "REASON_MAX_LEN", "token_limit", "maxPredictedTokensReached",
    {"type": "length", "length": 9},
]  # fmt: skip
OTHER = [
    "content_filter", "SAFETY", "RECITATION", "refusal", "tool_calls", "function_call", "abort", "error", "pause_turn",
    "insufficient_system_resource", "guardrail_intervened", "incomplete", "OTHER", "FINISH_REASON_UNSPECIFIED",
    "stopping", {"type": "abort"}, {}, ["stop", "length"], True, 1.0, "\ud83d",
]  # fmt: skip


@pytest.mark.parametrize("said", WHOLE)
def test_an_end_of_the_model_is_whole_in_every_server_s_words(said):
    assert finish_reason(said) == "stop"
    assert is_whole(finish_reason(said))


@pytest.mark.parametrize("said", [*CUT, *OTHER, None, "", " ", 3])
def test_whatever_is_not_known_to_be_an_end_is_not_whole(said):
    assert not is_whole(finish_reason(said))
    assert whole_text("The answer is 7.", finish_reason(said)) == ""


def test_limits_share_a_name_and_other_reasons_keep_theirs():
    assert {finish_reason(said) for said in CUT} == {"length"}
    named = [finish_reason(said) for said in ("Content-Filter", None, "", 3)]
    assert named == [
        "content_filter",
        "unknown",
        "unknown",
        "3",
    ]
    assert unexpected(["stop", "length", "safety", "unknown", "safety"]) == ["safety", "unknown"]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"stop_reason": "max_tokens"}, "max_tokens"),
        ({"finishReason": "STOP"}, "STOP"),
        ({"Finish Reason": "length"}, "length"),
        ({"done_reason": "stop"}, "stop"),
        ({"finish_reason": "stop", "stop_reason": "</s>"}, "stop"),  # vLLM: the second is the stop text
        ({"finish_reason": None, "stop_reason": "end_turn"}, "end_turn"),
        ({"finish_reason": None}, None),
        ({"truncated": True, "finish_reason": "stop"}, "length"),
        ({"truncated": False}, NOT_RECORDED),
        ({"reason": "x"}, NOT_RECORDED),
    ],
)
def test_a_recording_says_how_responses_ended_under_any_server_s_name(row, expected):
    assert recorded_reason(row) == expected
