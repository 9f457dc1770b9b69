"""Reading responses to prompts of one's own: any file of both, with the configuration's kind of answer.

A row names its prompt by `prompt_id` or `prompt` (or another of `PROMPT_FIELDS`), which may be a conversation, and
holds a response, or a list of them, in one of `RESPONSE_FIELDS`. Its gold answer is its own where it has one, else that
of the prompt in the configuration's sources; where neither has one, the response can be voted on and not be scored.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, time
from decimal import Decimal
from itertools import chain
from math import isfinite
from pathlib import Path

from retort.benchmarks.items import (
    GOLD_FIELDS,
    Item,
    finish_reasons_of,
    missing_reason,
    model_of,
    option_texts,
    response_texts,
)
from retort.config.data import AnswerType
from retort.config.load import load_config
from retort.data.conversations import read_conversation
from retort.data.sources import Prompt, load_prompts
from retort.errors import ConfigError, InputError
from retort.io.rows import Record, read_records
from retort.io.values import id_text, plain_text
from retort.modeling.conversations import as_prompt, last_message
from retort.text.gold import gold_answer

PROMPT_FIELDS = ("prompt_id", "prompt", "question", "instruction", "input", "id", "messages")


@dataclass(frozen=True)
class OwnTask:
    """Prompts of one's own: the kind of their answers, and the gold answers that are known."""

    kind: AnswerType
    gold: Mapping[str, str] = field(default_factory=dict)
    """By the prompt's id, by its text, white space made plain, and by its last message where that tells it apart."""
    answer_fields: tuple[str, ...] = ()
    """Fields of the configuration's sources that hold gold answers."""
    name_fields: tuple[str, ...] = PROMPT_FIELDS
    """Fields that a prompt is named by: the sources' ids, the usual ones, the sources' prompts."""


def own_task(config: Path) -> OwnTask:
    """What a configuration says about its prompts.

    Raises:
        ConfigError: it is malformed, or its answers are open-ended.
        InputError: a source of prompts is malformed; one that is missing only leaves its gold answers out.
    """
    settings = load_config(config)
    if settings.answer == "open":
        raise ConfigError(f"{config}: answer: open has no answer to read; `retort judge` reads judgements")
    sources = [source for source in settings.prompts.sources if source.type == "file" and source.answer_field]
    roots = (Path(), config.parent)  # a path starts from the working folder, as in `retort run`, or from the file's
    there = [(source, next((root for root in roots if (root / source.path).exists()), None)) for source in sources]
    gold = _gold(chain.from_iterable(load_prompts([source], root) for source, root in there if root is not None))
    every = settings.prompts.sources
    ids, texts = [one.id_field for one in every if one.id_field], [one.prompt_field for one in every]
    names = tuple(dict.fromkeys([*ids, *PROMPT_FIELDS, *texts]))
    return OwnTask(settings.answer, gold, tuple({source.answer_field or "" for source in sources}), names)


def _gold(prompts: Iterable[Prompt]) -> dict[str, str]:
    found: dict[str, str] = {}
    last: dict[str, set[str]] = {}
    for prompt in prompts:
        if prompt.answer is not None:
            found[prompt.prompt_id] = found[_plain(prompt.prompt)] = prompt.answer
            # A system prompt of the configuration is in no file of responses.
            last.setdefault(_plain(last_message(prompt.prompt)), set()).add(prompt.answer)
    return {text: min(answers) for text, answers in last.items() if len(answers) == 1} | found


def read_own(task: OwnTask, path: Path) -> Iterator[Item]:
    """Read a file of responses, one after another.

    Raises:
        InputError: the file is missing or malformed, or a row names no prompt or has no response.
    """
    missing = missing_reason(path)
    for row, record in read_records(path):
        names = _names(task, path, row, record)
        solution = _solution(task, path, row, record, names)
        options = option_texts(path, row, record)
        responses = response_texts(path, row, record)
        reasons = finish_reasons_of(path, row, record, len(responses), missing)
        for response, reason in zip(responses, reasons, strict=True):
            yield Item(
                row=row,
                group=names[0],
                model=model_of(record),
                response=response,
                solution=solution or "",
                answer=gold_answer(solution) if solution else "",
                options=len(options) if options else None,
                option_texts=options,
                finish_reason=reason,
            )


def _names(task: OwnTask, path: Path, row: int, record: Record) -> list[str]:
    """What a row calls its prompt, all of it plain: the first tells prompts apart."""
    found = []
    for name in task.name_fields:
        value = record.get(name)
        if isinstance(value, list) and value and isinstance(value[0], dict):
            prompt = as_prompt(read_conversation(value, name, file=path, row=row))
            found += [prompt, last_message(prompt)]
        elif value is not None and not isinstance(value, list | dict) and str(value).strip():
            found.append(id_text(value, name, file=path, row=row))
    if not found:
        remedy = f"Name the prompt of each response in one of {', '.join(task.name_fields)}"
        raise InputError("names no prompt", file=path, row=row, field=task.name_fields[0], remedy=remedy)
    return [_plain(one) for one in found]


def _solution(task: OwnTask, path: Path, row: int, record: Record, names: Iterable[str]) -> str | None:
    for name in (*task.answer_fields, *GOLD_FIELDS):
        value = record.get(name)
        if isinstance(value, str) and value.strip():
            return value
        if isinstance(value, date | time) or (isinstance(value, int | float | Decimal) and isfinite(value)):
            return plain_text(value, name, file=path, row=row)
        if value is not None and not isinstance(value, str | float | Decimal) and name in task.answer_fields:
            return plain_text(value, name, file=path, row=row)  # a list, say: refused
    return next((task.gold[name] for name in names if name in task.gold), None)


def _plain(text: str) -> str:
    return " ".join(text.split())
