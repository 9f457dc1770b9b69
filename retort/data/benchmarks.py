"""Reading responses to benchmarks from files in the shapes that they are published in.

Shapes (JSON lines, JSON arrays or Parquet; gzipped or not), told apart row by row:

- GSM8K: OpenAI's example model solutions (`question`, `ground_truth`, and for each model a field with its name that
  holds `solution` and `is_correct`); rows with a gold answer and a response; GSM-Plus' files of GSM8K predictions.
- GSM-Plus: rows with `answer` and a response; the questions alone, whose own `solution` is then scored.
- MMLU-Pro: `options`, `answer` and a response, with `pred` where upstream's own reading was kept.
- lm-evaluation-harness' sample logs of each (`doc`, `resps`).

A response is the first of `RESPONSE_FIELDS` that a row has; a list of strings is several responses.
"""

from __future__ import annotations

import string
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from retort.data.records import Record, read_records
from retort.data.sources import gold_answer
from retort.errors import InputError

Task = Literal["gsm8k", "gsm_plus", "mmlu_pro"]

RESPONSE_FIELDS = (
    "response",
    "responses",
    "model_output",
    "model_outputs",
    "generated_text",
    "model_prediction",
    "output",
    "completion",
)
_GOLD_FIELDS = ("answer", "ground_truth", "gold", "gsm8k_gold", "target")
_GROUP_FIELDS = ("question_id", "gsm8k_test_index", "question", "prompt_id", "prompt", "doc_id", "id")
_LABEL_FIELDS = ("is_correct", "upstream_result")


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


def read_items(task: Task, path: Path) -> Iterator[Item]:
    """Read a file of responses, one after another.

    Raises:
        InputError: the file is missing or malformed, or a row has no gold answer or no response.
    """
    for row, record in read_records(path):
        doc = record.get("doc")
        flat = {**doc, **record} if isinstance(doc, dict) else record
        solved = [key for key, value in flat.items() if isinstance(value, dict) and "solution" in value]
        if task == "gsm8k" and solved:
            yield from _example_solutions(path, row, flat, solved)
        else:
            yield from _responses(task, path, row, flat)


def _example_solutions(path: Path, row: int, record: Record, models: list[str]) -> Iterator[Item]:
    solution = _gold(path, row, record)
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
            answer=gold_answer(solution),
            label=label if isinstance(label, bool) else None,
        )


def _responses(task: Task, path: Path, row: int, record: Record) -> Iterator[Item]:
    solution = _gold(path, row, record)
    answer = gold_answer(solution)
    options = None
    if task == "mmlu_pro":
        answer = answer.strip("() .").upper()
        options = _options(path, row, record, answer)
    elif task == "gsm_plus" and isinstance(record.get("solution"), str):
        solution = record["solution"]
    model = record.get("model", "response")
    for response in _texts(task, path, row, record):
        yield Item(row, _group(record, row), str(model), response, solution, answer, _label(record), options)


def _gold(path: Path, row: int, record: Record) -> str:
    for field in _GOLD_FIELDS:
        value = record.get(field)
        if isinstance(value, str) and value.strip():
            return value
        if isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
    raise _bad(path, row, _GOLD_FIELDS[0], f"there is no gold answer (looked for {', '.join(_GOLD_FIELDS)})")


def _options(path: Path, row: int, record: Record, answer: str) -> int | None:
    if len(answer) != 1 or answer not in string.ascii_uppercase:
        raise _bad(path, row, "answer", f"the gold answer {answer!r} is no letter; this is a multiple-choice task")
    options = record.get("options")
    if not isinstance(options, list):
        return None
    if string.ascii_uppercase.index(answer) >= len(options):
        raise _bad(path, row, "answer", f"the gold answer {answer} lies beyond the {len(options)} options")
    return len(options)


def _texts(task: Task, path: Path, row: int, record: Record) -> list[str]:
    fields = [*RESPONSE_FIELDS, "resps", *(["solution"] if task == "gsm_plus" else [])]
    field = next((name for name in fields if record.get(name) is not None), None)
    if field is None:
        raise _bad(path, row, RESPONSE_FIELDS[0], f"there is no response (looked for {', '.join(fields)})")
    value: Any = record[field]
    if field == "resps" and isinstance(value, list) and value and isinstance(value[0], list):
        value = value[0]
    texts = value if isinstance(value, list) else [value]
    if not all(isinstance(text, str) for text in texts):
        raise _bad(path, row, field, "is neither a string nor a list of strings")
    return texts


def _label(record: Record) -> bool | None:
    for field in _LABEL_FIELDS:
        if isinstance(record.get(field), bool):
            return bool(record[field])
    if "pred" in record and isinstance(record.get("answer"), str):
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
