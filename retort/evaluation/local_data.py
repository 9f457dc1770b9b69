"""Benchmark files of this machine in the place of a task's data set on the hub, checked row by row."""

from __future__ import annotations

import string
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retort.benchmarks import official
from retort.errors import ConfigError, InputError
from retort.io.rows import Record, check_unicode, read_records, text_field
from retort.text.gold import gold_answer

if TYPE_CHECKING:
    from datasets import Dataset

_REMEDY = "Give the benchmark's own file, or mend or remove the row"


class Splits(dict[str, "Dataset"]):
    """The splits that files were given for; asking for another one says which file is missing."""

    def __init__(self, splits: dict[str, Dataset], benchmark: str) -> None:
        super().__init__(splits)
        self._benchmark = benchmark

    def __missing__(self, split: str) -> Dataset:
        raise ConfigError(
            f"benchmark {self._benchmark!r} has no file for split {split!r} (given: {', '.join(self)}), which its task "
            f"reads. Add `data.{split}`; where the task only takes its examples from it, `num_fewshot: 0` does without."
        )


def read_splits(benchmark: str, task: str, data: dict[str, str], root: Path) -> Splits:
    """The files of a benchmark as data sets.

    Args:
        benchmark: Name of the benchmark, for messages.
        task: Task of the harness; the rows of those that are known here are checked.
        data: File of each split, from `root`.
        root: Workspace.

    Raises:
        InputError: a file is missing, empty or malformed, or a row lacks a field, has another type in it than the rows
            before, or has no gold answer.
    """
    check = next((check for start, check in _CHECKS.items() if task.startswith(start)), None)
    return Splits({split: _dataset(root / file, check, split) for split, file in data.items()}, benchmark)


def _dataset(file: Path, check: Callable[[Record, Path, int], None] | None, split: str) -> Dataset:
    import pyarrow as pa
    from datasets import Dataset

    rows: list[Record] = []
    for row, record in read_records(file):
        if check is not None:
            check(record, file, row)
        if check is _mmlu_pro and split == "validation":
            text_field(record, "cot_content", file=file, row=row)  # its rows are the examples, solved
        _check_text(record.values(), file, row)
        rows.append(record)
    # Published files hold a field or two that not every row has, such as the predictions beside a question.
    names = dict.fromkeys(name for record in rows for name in record)
    try:
        return Dataset.from_list([{name: record.get(name) for name in names} for record in rows])
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise InputError(f"its rows hold different types in one field ({error})", file=file, remedy=_REMEDY) from error


def _check_text(values: Iterable[Any], file: Path, row: int) -> None:
    for value in values:
        if isinstance(value, str):
            check_unicode(value, "text", file=file, row=row)


def _gsm8k(record: Record, file: Path, row: int) -> None:
    text_field(record, "question", file=file, row=row)
    solution = text_field(record, "answer", file=file, row=row)
    if "seed_question" in record:  # GSM-Plus under GSM8K's prompts
        text_field(record, "seed_question", file=file, row=row)
    elif official.gsm8k_answer(solution) == official.INVALID:
        problem = f"has no '#### NUMBER', with which a GSM8K solution ends (it ends in {gold_answer(solution)[-20:]!r})"
        raise InputError(problem, file=file, row=row, field="answer", remedy=_REMEDY)


def _gsm_plus(record: Record, file: Path, row: int) -> None:
    for field in ("question", "answer", "solution", "seed_question"):
        text_field(record, field, file=file, row=row)


def _mmlu_pro(record: Record, file: Path, row: int) -> None:
    for field in ("question", "category"):
        text_field(record, field, file=file, row=row)
    options, answer = record.get("options"), text_field(record, "answer", file=file, row=row)
    if not isinstance(options, list) or not all(isinstance(option, str) for option in options) or not options:
        raise InputError("is not a list of texts", file=file, row=row, field="options", remedy=_REMEDY)
    if answer not in tuple(string.ascii_uppercase[: len(options)]):
        problem = f"is {answer!r}, not one of the {len(options)} options' letters"
        raise InputError(problem, file=file, row=row, field="answer", remedy=_REMEDY)


_CHECKS: dict[str, Callable[[Record, Path, int], None]] = {
    "gsm8k": _gsm8k,
    "gsm_plus": _gsm_plus,
    "mmlu_pro": _mmlu_pro,
}
"""Checks by the beginning of a task's name."""
