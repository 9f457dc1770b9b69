"""Questions of a benchmark as prompts, and scoring the responses to them.

Tasks and the fields of their files: `gsm8k` (`question`, `answer` ending in `#### NUMBER`), `gsm_plus` (`question`,
`answer`, `seed_question`: variants of one seed share a group), `mmlu_pro` (`question_id`, `question`, `options`,
`answer`). `heldout` is the test split of this run.
"""

from __future__ import annotations

import hashlib
import re
import string
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retort import tables
from retort.config.data import AnswerType, BenchmarkConfig
from retort.data.benchmarks import Item
from retort.data.records import read_records, text_field
from retort.data.sources import gold_answer
from retort.errors import InputError
from retort.text import official
from retort.text.equal import same_answer
from retort.text.extract import read_answer
from retort.text.score import read_item

_FIELD = re.compile(r"\{question\}|\{options\}")
_MMLU_PRO_PROMPT = """{question}

{options}

Think step by step, then finish with "The answer is (X)", where X is the letter of the correct option."""

_OFFICIAL: dict[str, Callable[[str, Question], bool]] = {
    "gsm8k": lambda response, question: official.gsm8k_correct(response, question.solution),
    "gsm_plus": lambda response, question: official.gsm_plus_correct(response, question.answer),
    "mmlu_pro": lambda response, question: official.mmlu_pro_l1(response) == question.answer,
}
"""Each benchmark's own published rule."""


@dataclass(frozen=True)
class Question:
    """One item of a benchmark."""

    item_id: str
    group_id: str
    prompt: str
    answer: str
    """The gold answer alone."""
    solution: str
    """What the benchmark gives as gold, which its own rule reads: a worked solution, a number or a letter."""
    options: int | None = None
    """Number of options of a multiple-choice question."""


def load_questions(config: BenchmarkConfig, root: Path, test_split: Path) -> list[Question]:
    """The questions of a benchmark.

    Args:
        config: The benchmark.
        root: Workspace, from which its file is named.
        test_split: Table of this run's held-out prompts.

    Raises:
        InputError: the file is missing or malformed, two items share an id, or no held-out prompt has an answer.
    """
    if config.task == "heldout":
        questions = _heldout(test_split)
        file = test_split
    else:
        assert config.path is not None, "the configuration asks for a path with every task but heldout"
        file = root / config.path
        questions = []
        for row, record in read_records(file):
            questions.append(_READERS[config.task](record, file, row, config.prompt))
            if len(questions) == config.limit:
                break
    seen: dict[str, int] = {}
    for number, question in enumerate(questions, start=1):
        if question.item_id in seen:
            problem = f"items {seen[question.item_id]} and {number} share the id {question.item_id!r}"
            raise InputError(problem, file=file, remedy="Give every item an id of its own")
        seen[question.item_id] = number
    return questions[: config.limit]


def score_response(
    config: BenchmarkConfig, kind: AnswerType, question: Question, response: str
) -> tuple[str | None, bool, bool]:
    """Read and judge a response.

    Args:
        config: The benchmark.
        kind: Kind of answer of this run's prompts, for `heldout`.
        question: The question.
        response: The response to it.

    Returns:
        The answer read (None when there is none), whether it is right, and whether the benchmark's published rule
        counts it right; held-out prompts have no published rule, so there both are the same.
    """
    if config.task == "heldout":
        found = read_answer(response, kind)
        right = found is not None and same_answer(found.value, question.answer, kind)
        return (found.value if found else None), right, right
    item = Item(
        row=0,
        group=question.group_id,
        model="",
        response=response,
        solution=question.solution,
        answer=question.answer,
        options=question.options,
    )
    answer, right = read_item(config.task, item)
    return (answer.value if answer else None), right, _OFFICIAL[config.task](response, question)


def _heldout(path: Path) -> list[Question]:
    rows = tables.read_table(path, tables.PROMPTS)
    questions = [
        Question(row["prompt_id"], row["prompt_id"], row["prompt"], row["answer"], row["answer"])
        for row in rows
        if row["answer"] is not None
    ]
    if not questions:
        problem = f"none of the {len(rows)} held-out prompts has a gold answer" if rows else "there are no prompts"
        remedy = "Set prompts.test and a source's answer_field, or evaluate on a benchmark file instead of `heldout`"
        raise InputError(problem, file=path, field="answer", remedy=remedy)
    return questions


def _gsm8k(record: dict[str, Any], file: Path, row: int, template: str | None) -> Question:
    question = text_field(record, "question", file=file, row=row)
    solution = text_field(record, "answer", file=file, row=row)
    if official.gsm8k_answer(solution) == official.INVALID:
        problem = "has no '#### NUMBER', with which a GSM8K solution ends"
        raise InputError(problem, file=file, row=row, field="answer", remedy="Give GSM8K's own file")
    name = f"gsm8k-{row}"
    return Question(name, name, _filled(template or "{question}", question), gold_answer(solution), solution)


def _gsm_plus(record: dict[str, Any], file: Path, row: int, template: str | None) -> Question:
    question = text_field(record, "question", file=file, row=row)
    answer = text_field(record, "answer", file=file, row=row)
    seed = text_field(record, "seed_question", file=file, row=row)
    return Question(
        item_id=f"gsm_plus-{row}",
        group_id=hashlib.sha256(seed.encode()).hexdigest()[:16],
        prompt=_filled(template or "{question}", question),
        answer=answer,
        solution=answer,
    )


def _mmlu_pro(record: dict[str, Any], file: Path, row: int, template: str | None) -> Question:
    question = text_field(record, "question", file=file, row=row)
    answer = text_field(record, "answer", file=file, row=row).strip().upper()
    options = record.get("options")
    if not isinstance(options, list) or not all(isinstance(option, str) for option in options) or not options:
        problem = "is not a list of texts"
        raise InputError(problem, file=file, row=row, field="options", remedy="Give MMLU-Pro's own file")
    letters = string.ascii_uppercase[: len(options)]
    if answer not in tuple(letters):
        problem = f"is {answer!r}, not one of the {len(options)} options' letters"
        raise InputError(problem, file=file, row=row, field="answer", remedy="Correct or remove the row")
    listed = "\n".join(f"({letter}) {option}" for letter, option in zip(letters, options, strict=False))
    name = f"mmlu_pro-{record.get('question_id', row)}"
    return Question(
        item_id=name,
        group_id=name,
        prompt=_filled(template or _MMLU_PRO_PROMPT, question, listed),
        answer=answer,
        solution=answer,
        options=len(options),
    )


def _filled(template: str, question: str, options: str = "") -> str:
    # Not str.format: questions hold braces of their own.
    values = {"{question}": question, "{options}": options}
    return _FIELD.sub(lambda match: values[match.group()], template)


_READERS: dict[str, Callable[[dict[str, Any], Path, int, str | None], Question]] = {
    "gsm8k": _gsm8k,
    "gsm_plus": _gsm_plus,
    "mmlu_pro": _mmlu_pro,
}
