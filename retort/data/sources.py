"""Loading prompts from the sources that a configuration names."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from retort.config.data import SourceConfig
from retort.errors import InputError, StorageError
from retort.io.rows import Record, check_unicode, read_records, text_field
from retort.text.gold import gold_answer

Use = Literal["split", "train", "validation", "test"]


@dataclass(frozen=True)
class Prompt:
    """One prompt and where it came from."""

    prompt_id: str
    prompt: str
    answer: str | None
    """Gold answer where one is known."""
    source: str
    row: int
    use: Use


def load_prompts(sources: Sequence[SourceConfig], root: Path) -> Iterator[Prompt]:
    """Load the prompts of all sources, in order; relative paths start from `root`.

    Raises:
        InputError: a file or field is missing or malformed, or two rows have the same id.
    """
    seen: dict[str, Prompt] = {}
    for source in sources:
        for row, record in _records(source, root):
            prompt = _prompt(source, row, record)
            if source.id_field is not None:
                first = seen.setdefault(prompt.prompt_id, prompt)
                if first is not prompt:
                    problem = f"id {prompt.prompt_id!r} was used before, in {first.source}, row {first.row}"
                    remedy = "Make ids unique, or leave id_field out: ids are then made from the prompts' text"
                    raise InputError(problem, file=source.path, row=row, field=source.id_field, remedy=remedy)
            yield prompt


def _records(source: SourceConfig, root: Path) -> Iterator[tuple[int, Record]]:
    return read_records(root / source.path) if source.type == "file" else _hub_records(source)


def _hub_records(source: SourceConfig) -> Iterator[tuple[int, Record]]:
    from datasets import exceptions, load_dataset

    try:
        rows: Any = load_dataset(source.path, source.name, split=source.split, streaming=True)
        yield from enumerate(rows, start=1)
    except (exceptions.DatasetNotFoundError, FileNotFoundError, ValueError) as error:
        remedy = "Correct `path`, `name` and `split` of this source, or download it and use `type: file`"
        raise InputError(f"cannot be loaded by `datasets` ({error})", file=source.path, remedy=remedy) from error
    except OSError as error:
        raise StorageError(
            f"{source.path}: cannot be fetched ({error}). Run again when the network is back."
        ) from error


def _prompt(source: SourceConfig, row: int, record: Record) -> Prompt:
    prompt = text_field(record, source.prompt_field, file=source.path, row=row)
    answer = None if source.answer_field is None else _answer(record, source.answer_field, source.path, row)
    if source.id_field is None:
        plain = " ".join(unicodedata.normalize("NFC", prompt).split())
        prompt_id = hashlib.sha256(plain.encode()).hexdigest()[:16]
    else:
        given = record.get(source.id_field)
        as_text = {**record, source.id_field: str(given)} if isinstance(given, int) else record
        prompt_id = text_field(as_text, source.id_field, file=source.path, row=row)
    return Prompt(prompt_id, prompt, answer, source.path, row, source.use)


def _answer(record: Record, field: str, file: str, row: int) -> str | None:
    if field not in record:
        text_field(record, field, file=file, row=row)
    value = record[field]
    if value is None:
        return None
    if isinstance(value, bool | int | float):
        return str(value)
    if not isinstance(value, str):
        text_field(record, field, file=file, row=row)
    check_unicode(value, field, file=file, row=row)
    return gold_answer(value) or None
