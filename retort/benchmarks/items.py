"""Reading responses to benchmarks from files in the shapes that they are published in.

Shapes (JSON lines, JSON arrays or Parquet; plain, gzipped or zipped), told apart row by row:

- GSM8K: OpenAI's example model solutions (`question`, `ground_truth`, and for each model a field with its name that
  holds `solution` and `is_correct`); rows with a gold answer and a response; GSM-Plus' files of GSM8K predictions.
- GSM-Plus: rows with `answer` and a response; the questions alone, whose own `solution` is then scored.
- MMLU-Pro: `options`, `answer` (or `answer_index`) and a response, with `pred` where upstream's own reading was kept.
- lm-evaluation-harness' sample logs of each (`doc`, `resps`). They repeat every response for every filter: only rows of
  the filter that comes first are read.

A response is the first of `RESPONSE_FIELDS` that a row has; a list of strings is several responses. An empty or null
response is one that states nothing.
"""

from __future__ import annotations

import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from retort.errors import InputError
from retort.io.rows import Record, read_records
from retort.text.finish_reasons import NOT_RECORDED, UNKNOWN, finish_reason, recorded_reason
from retort.text.gold import gold_answer, readable_gold

Task = Literal["gsm8k", "gsm_plus", "mmlu_pro", "own"]
"""`own` is for prompts of one's own (`retort.benchmarks.own`), which have no published rule."""

RESPONSE_FIELDS = (
    "response",
    "responses",
    "model_output",
    "model_outputs",
    "generated_text",
    "model_prediction",
    "output",
    "completion",
    "code",
)
GOLD_FIELDS = ("answer", "ground_truth", "gsm8k_gold", "gold", "gt", "target")
_GROUP_FIELDS = ("question_id", "gsm8k_test_index", "question", "prompt_id", "prompt", "doc_id", "idx", "id", "input")
_LETTERS = string.ascii_uppercase
_LABEL_FIELDS = ("is_correct", "upstream_result", "result", "exact_match")


@dataclass(frozen=True)
class Item:
    """One response to one question of a benchmark."""

    row: int
    group: str
    """Names the question: responses that share it answer the same one."""
    model: str
    response: str
    solution: str
    """What the file gives as gold: a worked solution, a number, or a letter."""
    answer: str
    """The gold answer alone."""
    label: bool | None = None
    """Whether the file says that the response is right."""
    options: int | None = None
    """Number of options of a multiple-choice question."""
    option_texts: tuple[str, ...] = ()
    """The options' texts, where the file has them."""
    finish_reason: str = NOT_RECORDED
    """How the response ended, as `retort.text.finish_reasons` names it."""


def read_items(task: Task, path: Path) -> Iterator[Item]:
    """Read a file of responses, one after another.

    Raises:
        InputError: the file is missing or malformed, a row has no gold answer or no response, or its gold answer is
            not of the task's kind.
    """
    first_filter: object = None
    missing = missing_reason(path)
    for row, record in read_records(path):
        if "filter" in record and "resps" in record:
            first_filter = first_filter or record["filter"]
            if record["filter"] != first_filter:
                continue
        doc = record.get("doc")
        flat = {**doc, **record} if isinstance(doc, dict) else record
        solved = [key for key, value in flat.items() if isinstance(value, dict) and "solution" in value]
        if task == "gsm8k" and solved:
            yield from _example_solutions(path, row, flat, solved)
        else:
            yield from _responses(task, path, row, flat, missing)


def _example_solutions(path: Path, row: int, record: Record, models: list[str]) -> Iterator[Item]:
    solution = _gold(path, row, record)
    answer = _number(path, row, gold_answer(solution))
    for model in models:
        response, label = record[model].get("solution"), record[model].get("is_correct")
        if not isinstance(response, str):
            raise _bad(path, row, f"{model}.solution", "is not a string")
        yield Item(
            row=row,
            group=_group(record, row),
            model=model,
            # the published rule looks for "####"; these files end in "A: " instead
            response=response,
            solution=solution,
            answer=answer,
            label=label if isinstance(label, bool) else None,
        )


def _responses(task: Task, path: Path, row: int, record: Record, missing: str) -> Iterator[Item]:
    solution = _letter(path, row, record) if task == "mmlu_pro" else _gold(path, row, record)
    answer = gold_answer(solution)
    options: tuple[str, ...] | None = None
    if task == "mmlu_pro":
        options = _options(path, row, record, answer)
    elif answer != "None":  # GSM-Plus' "critical thinking"; its GSM8K predictions have it by mistake
        answer = _number(path, row, answer)
    if task == "gsm_plus" and isinstance(record.get("solution"), str):
        solution = record["solution"]
    responses = response_texts(path, row, record, ["solution"] if task == "gsm_plus" else [])
    reasons = finish_reasons_of(path, row, record, len(responses), missing)
    for response, reason in zip(responses, reasons, strict=True):
        yield Item(
            row=row,
            group=_group(record, row),
            model=model_of(record),
            response=response,
            solution=solution,
            answer=answer,
            label=_label(task, record),
            options=None if options is None else len(options),
            option_texts=options or (),
            finish_reason=reason,
        )


def _gold(path: Path, row: int, record: Record) -> str:
    for field in GOLD_FIELDS:
        value = record.get(field)
        if isinstance(value, str) and value.strip():
            return value
        if isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
    raise _bad(path, row, GOLD_FIELDS[0], f"there is no gold answer (looked for {', '.join(GOLD_FIELDS)})")


def _letter(path: Path, row: int, record: Record) -> str:
    """The gold letter: `answer`, or the one that `answer_index` counts to."""
    index = record.get("answer_index")
    if not any(record.get(field) for field in GOLD_FIELDS) and isinstance(index, int) and 0 <= index < len(_LETTERS):
        return _LETTERS[index]
    answer = _gold(path, row, record).strip("() .").upper()
    if len(answer) != 1 or answer not in _LETTERS:
        raise _bad(path, row, "answer", f"the gold answer {answer!r} is no letter; this is a multiple-choice task")
    return answer


def _options(path: Path, row: int, record: Record, answer: str) -> tuple[str, ...] | None:
    options = option_texts(path, row, record)
    if not options:
        return None
    if _LETTERS.index(answer) >= len(options):
        raise _bad(path, row, "answer", f"the gold answer {answer} lies beyond the {len(options)} options")
    return options


def _number(path: Path, row: int, answer: str) -> str:
    if not readable_gold(answer, "number"):
        raise _bad(path, row, "answer", f"the gold answer {answer[:40]!r} is no number; this task asks for numbers")
    return answer


def model_of(record: Record) -> str:
    """What a row calls the model; `response` where it does not say."""
    return str(record.get("model") or "response")


def option_texts(path: Path, row: int, record: Record) -> tuple[str, ...]:
    """The texts of a row's options; none where it has no options.

    Raises:
        InputError: `options` is not a list of texts.
    """
    options = record.get("options")
    if options is None:
        return ()
    if not isinstance(options, list) or not options or not all(isinstance(option, str) for option in options):
        raise _bad(path, row, "options", "is not a list of texts")
    return tuple(options)


def missing_reason(path: Path) -> str:
    """What a row of the file without a field for it says of how it ended: not known, if any other row says it."""
    return UNKNOWN if any(recorded_reason(record) != NOT_RECORDED for _, record in read_records(path)) else NOT_RECORDED


def finish_reasons_of(path: Path, row: int, record: Record, responses: int, missing: str) -> list[str]:
    """How each of a row's responses ended; `missing` where the row has no field for it.

    Raises:
        InputError: the field is a list of another length.
    """
    said = recorded_reason(record)
    if said == NOT_RECORDED:
        return [missing] * responses
    several = said if isinstance(said, list) else [said] * responses
    if len(several) != responses:
        raise _bad(path, row, "finish_reason", f"has {len(several)} reasons for {responses} responses")
    return [finish_reason(one) for one in several]


def response_texts(path: Path, row: int, record: Record, more: Sequence[str] = ()) -> list[str]:
    """The responses of a row: a text, or a list of them; null is one without text.

    Raises:
        InputError: the row has none, or they are no texts.
    """
    fields = [*RESPONSE_FIELDS, "resps", *more]
    field = next((name for name in fields if record.get(name) is not None), None)
    field = field or next((name for name in fields if name in record), None)
    if field is None:
        raise _bad(path, row, RESPONSE_FIELDS[0], f"there is no response (looked for {', '.join(fields)})")
    value: Any = record[field]
    if field == "resps" and isinstance(value, list) and value and isinstance(value[0], list):
        value = value[0]
    if value == []:
        raise _bad(path, row, field, "is an empty list: there is no response")
    texts = ["" if text is None else text for text in (value if isinstance(value, list) else [value])]
    if not all(isinstance(text, str) for text in texts):
        raise _bad(path, row, field, "is neither a string nor a list of strings")
    return texts


def _label(task: Task, record: Record) -> bool | None:
    for field in _LABEL_FIELDS:
        value = record.get(field)
        if isinstance(value, bool) or (field == "exact_match" and value in (0, 1)):
            return bool(value)
    if task == "mmlu_pro" and "pred" in record and isinstance(record.get("answer"), str):
        return bool(record["pred"] == record["answer"])
    return None


def _group(record: Record, row: int) -> str:
    for field in _GROUP_FIELDS:
        if isinstance(record.get(field), str | int):
            return str(record[field])
    return f"row {row}"


def _bad(path: Path, row: int, field: str, problem: str) -> InputError:
    remedy = "Mend the row, or name the task that the file belongs to; docs list the shapes that are read"
    return InputError(problem, file=path, row=row, field=field, remedy=remedy)
