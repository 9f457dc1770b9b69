"""Published scoring rules, exactly as their sources have them, so that numbers compare with published ones.

Their faults are kept on purpose ("18." is not "18"); how Retort itself reads answers is `retort.text.extract`.
Patterns that are quadratic in their source are replaced by linear ones with the same result. Sources:

- GSM8K: openai/grade-school-math, grade_school_math/dataset.py.
- lm-evaluation-harness, commit 4e7e0d47: tasks gsm8k (v3) and mmlu_pro (v3.1), metric exact_match.
- GSM-Plus: qtli/GSM-Plus, scripts/utils/extract_ans.py, prompt type "cot".
- MMLU-Pro: TIGER-AI-Lab/MMLU-Pro, evaluate_from_local.py (order of rules), compute_accuracy.py (l1, l2),
  evaluate_from_apiX.py (the same patterns, last match). Where these draw a random letter, None is returned here.
"""

from __future__ import annotations

import re
from typing import Literal

from retort.text.equal import canonical

INVALID = "[invalid]"

_OPENAI = re.compile(r"#### (\-?[0-9\.\,]+)")
_FLEXIBLE = re.compile(r"(-?[$0-9.,]{2,})|(-?[0-9]+)")
_GSM_PLUS_HASH = re.compile("####(.*)")
_GSM_PLUS_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:/\d+)?")
_GSM_PLUS_NONE = (
    "does not provide enough information",
    "does not specify",
    "does not provide",
    "can't provide",
    "can not provide",
    "don't know",
    "do not know",
    "doesn't specify",
    "not specify",
    "not mention",
    "doesn't mention",
    "don't have enough information",
    "do not have enough",
    "not provide",
    "doesn't provide",
    "cannot calculate",
    "can't calculate",
    "can't determine",
    "cannot determine",
    "missing necessary information",
    "none",
)
_MMLU_1 = re.compile(r"answer is \(?([A-J])\)?")
_MMLU_2 = re.compile(r"[aA]nswer:\s*([A-J])")
_MMLU_3 = re.compile(r"\b[A-J]\b")


def gsm8k_answer(text: str) -> str:
    """OpenAI's `extract_answer`: the first `#### NUMBER`, commas removed; else `[invalid]`."""
    match = _OPENAI.search(text)
    return match.group(1).strip().replace(",", "") if match else INVALID


def gsm8k_correct(response: str, solution: str) -> bool:
    """OpenAI's `is_correct`: string equality with the answer of the gold solution, read in the same way.

    Raises:
        ValueError: the gold solution has no `#### NUMBER`.
    """
    gold = gsm8k_answer(solution)
    if gold == INVALID:
        raise ValueError("the gold solution has no '#### NUMBER'")
    return gsm8k_answer(response) == gold


def lm_eval_gsm8k_correct(response: str, solution: str, rule: Literal["strict", "flexible"]) -> bool:
    """The harness's gsm8k and gsm_plus tasks: filter `strict-match` or `flexible-extract`, then `exact_match`."""
    if rule == "strict":
        match = _OPENAI.search(response)
        extracted = match.group(1).strip() if match else INVALID
    else:
        found = _FLEXIBLE.findall(response)
        extracted = (found[-1][0] or found[-1][1]).strip() if found else INVALID
    return _exact_match_form(extracted) == _exact_match_form(solution)


def _exact_match_form(text: str) -> str:
    # regexes_to_ignore, in order: "," "\\$" "(?s).*#### " "\\.$"
    text = text.replace(",", "").replace("$", "")
    text = text.rpartition("#### ")[2]
    return re.sub(r"\.\Z|\.(?=\n\Z)", "", text).lower()


def gsm_plus_answer(response: str) -> str:
    """GSM-Plus' `extract_pred_ans` for "cot": the last `####` with a digit, else the last number; "" for none."""
    response = response.rstrip(".").replace(",", "").split("Question")[0]
    marked = _GSM_PLUS_HASH.findall(response)
    if marked and any(character.isdigit() for character in marked[-1]):
        found = _GSM_PLUS_NUMBER.findall(_delete_extra_zero(marked[-1].strip(" ")))[:1]
    else:
        found = [_delete_extra_zero(number) for number in _GSM_PLUS_NUMBER.findall(response)[-1:]]
    return found[0].strip(".").strip(" ") if found else ""


def gsm_plus_correct(response: str, answer: str) -> bool:
    """GSM-Plus' `test_answer`: "None" for questions that lack a condition, else the number's equality by value."""
    if answer == "None":
        lower = response.rstrip(".").replace(",", "").lower()
        return any(phrase in lower for phrase in _GSM_PLUS_NONE) or "####" not in lower
    return canonical(gsm_plus_answer(response), "number") == canonical(answer, "number")


def _delete_extra_zero(number: str) -> str:
    try:
        shortened = str(float(number)).rstrip("0")
    except ValueError:
        return number
    if shortened.endswith("."):
        return shortened.rstrip(".")
    return str(float(shortened))


def mmlu_pro_l1(response: str) -> str | None:
    """MMLU-Pro's first rule alone, which is also the harness's: the first `answer is (X)`."""
    match = _MMLU_1.search(response)
    return match.group(1) if match else None


def mmlu_pro_l2(response: str) -> str | None:
    """MMLU-Pro's whole order of rules: `answer is (X)`, then `answer: X`, then the last letter that stands alone."""
    first = mmlu_pro_l1(response)
    if first is not None:
        return first
    # `.*[aA]nswer:\s*([A-J])` takes the last match of the first line that has one
    line_end, letter = -1, None
    for match in _MMLU_2.finditer(response):
        if letter is not None and match.start() > line_end:
            break
        if letter is None:
            newline = response.find("\n", match.start())
            line_end = len(response) if newline < 0 else newline
        letter = match.group(1)
    return letter if letter is not None else _last_alone(response)


def mmlu_pro_last(response: str) -> str | None:
    """evaluate_from_apiX.py: the same three patterns, each with its last match (the second one line by line)."""
    for pattern in (_MMLU_1, _MMLU_2):
        found = pattern.findall(response)
        if found:
            return str(found[-1])
    return _last_alone(response)


def _last_alone(response: str) -> str | None:
    found = _MMLU_3.findall(response)
    return found[-1] if found else None
