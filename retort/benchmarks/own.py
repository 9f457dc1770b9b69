"""Reading responses to prompts of one's own: any file of both, with the configuration's kind of answer.

A row names its prompt by `prompt_id` or `prompt` (or another of `PROMPT_FIELDS`), and holds a response, or a list of
them, in one of `RESPONSE_FIELDS`. Its gold answer is its own where it has one, else that of the prompt in the
configuration's sources; where neither has one, the response can be voted on and not be scored.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from retort.benchmarks.items import GOLD_FIELDS, Item, finish_reasons_of, missing_reason, option_texts, response_texts
from retort.config.data import AnswerType
from retort.config.load import load_config
from retort.data.sources import Prompt, load_prompts
from retort.errors import ConfigError, InputError
from retort.io.rows import Record, read_records
from retort.io.values import id_text
from retort.text.gold import gold_answer

PROMPT_FIELDS = ("prompt_id", "prompt", "question", "instruction", "input", "id")


@dataclass(frozen=True)
class OwnTask:
    """Prompts of one's own: the kind of their answers, and the gold answers that are known."""

    kind: AnswerType
    gold: Mapping[str, str] = field(default_factory=dict)
    """By the prompt's id and by its text, white space made plain."""
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
    found = {}
    for prompt in prompts:
        if prompt.answer is not None:
            found[prompt.prompt_id] = found[_plain(prompt.prompt)] = prompt.answer
    return found


def read_own(task: OwnTask, path: Path) -> Iterator[Item]:
    """Read a file of responses, one after another.

    Raises:
        InputError: the file is missing or malformed, or a row names no prompt or has no response.
    """
    missing = missing_reason(path)
    for row, record in read_records(path):
        name = _name(task, path, row, record)
        solution = _solution(task, record, name)
        options = option_texts(path, row, record)
        responses = response_texts(path, row, record)
        reasons = finish_reasons_of(path, row, record, len(responses), missing)
        for response, reason in zip(responses, reasons, strict=True):
            yield Item(
                row=row,
                group=name,
                model=str(record.get("model", "response")),
                response=response,
                solution=solution or "",
                answer=gold_answer(solution) if solution else "",
                options=len(options) if options else None,
                option_texts=options,
                finish_reason=reason,
            )


def _name(task: OwnTask, path: Path, row: int, record: Record) -> str:
    for name in task.name_fields:
        value = record.get(name)
        if value is not None and not isinstance(value, list | dict) and str(value).strip():
            return _plain(id_text(value, name, file=path, row=row))
    remedy = f"Name the prompt of each response in one of {', '.join(task.name_fields)}"
    raise InputError("names no prompt", file=path, row=row, field=task.name_fields[0], remedy=remedy)


def _solution(task: OwnTask, record: Record, group: str) -> str | None:
    for name in (*task.answer_fields, *GOLD_FIELDS):
        value = record.get(name)
        if isinstance(value, str) and value.strip():
            return value
        if isinstance(value, int | float):
            return str(value)
    texts = [group] + [_plain(str(record[name])) for name in task.name_fields if record.get(name) is not None]
    return next((task.gold[text] for text in texts if text in task.gold), None)


def _plain(text: str) -> str:
    return " ".join(text.split())
