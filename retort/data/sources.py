"""Loading prompts from the sources that a configuration names."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from retort.config.data import SourceConfig
from retort.data.conversations import read_conversation
from retort.errors import ConfigError, InputError
from retort.io.rows import Record, check_unicode, text_field
from retort.io.values import id_text, plain_text
from retort.modeling.conversations import Message, as_prompt
from retort.text.gold import gold_answer

if TYPE_CHECKING:
    from jinja2 import Template

Use = Literal["split", "train", "validation", "test", "unlabelled"]


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt and where it came from."""

    prompt_id: str
    prompt: str
    """The user's message, or a conversation (`retort.modeling.conversations`)."""
    answer: str | None
    """Gold answer where one is known."""
    source: str
    row: int
    use: Use


def load_prompts(sources: Sequence[SourceConfig], root: Path) -> Iterator[Prompt]:
    """Load the prompts of all sources, in order; relative paths start from `root`.

    Raises:
        InputError: a file or field is missing or malformed, or two rows have the same id.
        ConfigError: a template is no Jinja.
        StorageError: a data set cannot be fetched.
    """
    from retort.data.records import records_of

    templates = [_template(place, source) for place, source in enumerate(sources)]
    seen: dict[str, tuple[str, int]] = {}
    for source, template in zip(sources, templates, strict=True):
        for file, row, record in records_of(source, root):
            prompt = _prompt(source, template, file, row, record)
            if source.id_field is not None:
                first = seen.setdefault(prompt.prompt_id, (file, row))
                if first != (file, row):
                    problem = f"id {prompt.prompt_id!r} was used before, in {first[0]}, row {first[1]}"
                    remedy = "Make ids unique, or leave id_field out: ids are then made from the prompts' text"
                    raise InputError(problem, file=file, row=row, field=source.id_field, remedy=remedy)
            yield prompt


def _template(place: int, source: SourceConfig) -> Template | None:
    if source.template is None:
        return None
    from jinja2 import StrictUndefined, TemplateSyntaxError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    try:
        # What is missing is an error, not an empty word; what a row holds is data, not a program.
        return ImmutableSandboxedEnvironment(undefined=StrictUndefined, finalize=_no_null).from_string(source.template)
    except TemplateSyntaxError as error:
        raise ConfigError(
            f"prompts.sources[{place}].template: is no Jinja template: {error}, line {error.lineno}."
        ) from error


def _no_null(value: Any) -> Any:
    """What a template writes: never null, which would stand in the prompt as the word None."""
    if value is None:
        raise TypeError("a value is null; where it may be, write {{ field or '' }}")
    return value


def _prompt(source: SourceConfig, template: Template | None, file: str, row: int, record: Record) -> Prompt:
    messages = _messages(source, template, file, row, record)
    if source.system is not None and messages[0]["role"] != "system":
        messages = [{"role": "system", "content": source.system}, *messages]
    prompt = as_prompt(messages)
    answer = None if source.answer_field is None else _answer(record, source.answer_field, file, row)
    if source.id_field is None:
        plain = " ".join(unicodedata.normalize("NFC", prompt).split())
        prompt_id = hashlib.sha256(plain.encode()).hexdigest()[:16]
    else:
        if source.id_field not in record:
            text_field(record, source.id_field, file=file, row=row)
        prompt_id = id_text(record[source.id_field], source.id_field, file=file, row=row)
    return Prompt(prompt_id, prompt, answer, file, row, source.use)


def _messages(source: SourceConfig, template: Template | None, file: str, row: int, record: Record) -> list[Message]:
    field = source.prompt_field
    if template is not None:
        return [{"role": "user", "content": _rendered(template, file, row, record)}]
    if isinstance(record.get(field), list):
        return read_conversation(record[field], field, file=file, row=row)
    if field not in record and (found := [name for name in _CONVERSATIONS if isinstance(record.get(name), list)]):
        remedy = f"The row has a conversation: set prompt_field: {found[0]}"
        raise InputError("is missing", file=file, row=row, field=field, remedy=remedy)
    return [{"role": "user", "content": text_field(record, field, file=file, row=row)}]


_CONVERSATIONS = ("messages", "conversations", "conversation", "prompt")
"""Fields that data sets keep conversations in."""


def _rendered(template: Template, file: str, row: int, record: Record) -> str:
    from jinja2 import TemplateError

    try:
        text = template.render(record)
    except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, RecursionError) as error:
        names = ", ".join(sorted(map(str, record)))
        remedy = f"Correct prompts.sources.template; the row has: {names}"
        raise InputError(f"the template fails ({error})", file=file, row=row, remedy=remedy) from error
    if not text.strip():
        raise InputError("the template gives an empty prompt", file=file, row=row, remedy="Mend or remove the row")
    check_unicode(text, "template", file=file, row=row)
    return text


def _answer(record: Record, field: str, file: str, row: int) -> str | None:
    if field not in record:
        text_field(record, field, file=file, row=row)
    value = record[field]
    if value is None:
        return None
    if isinstance(value, str):
        check_unicode(value, field, file=file, row=row)
        return gold_answer(value) or None
    return plain_text(value, field, file=file, row=row)
