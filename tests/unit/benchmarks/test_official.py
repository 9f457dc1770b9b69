"""The published rules with their faults; where a source's pattern is quadratic, ours must give the same result."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retort.benchmarks import official


@pytest.mark.parametrize(
    ("response", "right"),
    [
        ("#### 18", True),
        ("#### 1,8", True),
        ("#### 18\n#### 20", True),
        ("#### 20\n#### 18", False),
        ("#### 18.", False),
        ("#### 18.0", False),
        ("#### $18", False),
        ("18", False),
    ],
)
def test_gsm8k_is_string_equality_of_the_first_match(response, right):
    assert official.gsm8k_correct(response, "so 18\n#### 18") is right


@pytest.mark.parametrize(
    ("response", "strict", "flexible"),
    [
        ("#### 18", True, True),
        ("The answer is 18.", False, True),
        ("#### 18. And 20", True, False),
        ("It is $18", False, True),
        ("18 of 5", False, False),
        ("none", False, False),
    ],
)
def test_harness_filters_gsm8k(response, strict, flexible):
    assert official.lm_eval_gsm8k_correct(response, "so\n#### 18", "strict") is strict
    assert official.lm_eval_gsm8k_correct(response, "so\n#### 18", "flexible") is flexible


@pytest.mark.parametrize(
    ("response", "answer", "right"),
    [
        ("6\n#### 4.330 inches", "4.33", True),
        ("6\n#### none\n", "6", True),
        ("It is 1/4.", "0.25", True),
        ("It is 3. Question: 5", "3", True),
        ("It is 3", "4", False),
        ("", "4", False),
        ("The problem does not provide the price.", "None", True),
        ("#### 7", "None", False),
        ("It is 7", "None", True),
    ],
)
def test_gsm_plus_rule(response, answer, right):
    assert official.gsm_plus_correct(response, answer) is right


def source_l2(text):
    """TIGER-AI-Lab/MMLU-Pro, evaluate_from_local.py, as it stands there."""
    match = re.search(r"answer is \(?([A-J])\)?", text)
    if match:
        return match.group(1)
    match = re.search(r".*[aA]nswer:\s*([A-J])", text)
    if match:
        return match.group(1)
    match = re.search(r"\b[A-J]\b(?!.*\b[A-J]\b)", text, re.DOTALL)
    return match.group(0) if match else None


PIECES = st.sampled_from(
    ["answer is ", "answer is (", "Answer: ", "answer:", "A", "B", "(C)", " ", "\n", "Answer:\n", "x", ".", "K", "none"]
)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.lists(PIECES, max_size=14).map("".join))
def test_linear_mmlu_pro_rule_equals_its_source(text):
    assert official.mmlu_pro_l2(text) == source_l2(text)


def test_mmlu_pro_rules_differ_in_fallback_and_in_which_match():
    text = "The answer is (A). The answer is (B)."
    assert official.mmlu_pro_l1(text) == official.mmlu_pro_l2(text) == "A"
    assert official.mmlu_pro_last(text) == "B"
    assert official.mmlu_pro_l1("I think C") is None
    assert official.mmlu_pro_l2("I think C") == "C"
