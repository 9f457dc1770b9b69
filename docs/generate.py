"""Writes the pages of docs/reference from the code: `make docs`. With --check it only says which ones are stale."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import sys
import types
import typing
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_origin

import annotated_types
import pyarrow as pa
import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from typer.models import ArgumentInfo

from retort import errors, interface, plugins
from retort.config import RetortConfig
from retort.config.models import EngineConfig
from retort.config.training import RewardConfig
from retort.io import tables

FOLDER = Path(__file__).parent / "reference"
_TYPE_WORDS = {"type": "Says which of these sections it is."}
_NOTE = "<!-- Written by `make docs`; edit the code that it describes instead. -->\n\n"


def pages() -> dict[str, str]:
    """Every generated page by file name."""
    return {
        "configuration.md": _NOTE + configuration(),
        "cli.md": _NOTE + command_line(),
        "tables.md": _NOTE + table_schemas(),
        "exit-codes.md": _NOTE + exit_codes(),
        "profiles.md": _NOTE + profiles(),
        "python.md": _NOTE + python_interface(),
    }


def configuration() -> str:
    """A table for each section of the configuration, from the fields and the words under them."""
    parts = [
        "# Configuration\n\n"
        "A run reads `params.yaml` or the file given with `--config`; a file may name another one that it is laid over "
        "with `extends: FILE`. Keys that do not exist are refused. A dash marks a key without a default.\n",
        _section("Top level", RetortConfig),
    ]
    kinds = [(place, model) for place, model in _models(RetortConfig, "") if model is not EngineConfig]
    parts += [_section(f"`{place}`", model) for place, model in kinds]
    for group, title in (
        ("method", "`{}`, and what entries of `students` with `method: {}` may say"),
        ("reward", "`rewards.NAME` with `type: {}`"),
        ("engine", "`engine` with `type: {}`"),
    ):
        for name in plugins.names(group):
            model = plugins.load(group, name).config
            if model is RewardConfig:
                continue  # the section `reward` above
            parts.append(_section(title.format(name, name), model))
            parts += [_section(f"`{place}`", inner) for place, inner in _models(model, f"{name}.")]
    return "\n".join(parts)


def python_interface() -> str:
    """Every name of the Python interface with its signature and words."""
    parts = ["# Python interface\n\nWhat `import retort` offers; [how it is used](../guides/python.md).\n"]
    for name in interface.__all__:
        found = getattr(interface, name)
        if inspect.isfunction(found):
            parts.append(_documented(f"retort.{name}", found))
            continue
        parts.append(f"## `retort.{name}`\n\n{_text(found)}")
        if dataclasses.is_dataclass(found):
            rows = [f"| `{one.name}` | `{one.type}` |" for one in dataclasses.fields(found)]
            parts.append("| Field | Type |\n|---|---|\n" + "\n".join(rows) + "\n")
            continue
        for key, member in vars(found).items():
            if isinstance(member, property):
                returns = inspect.signature(member.fget).return_annotation  # type: ignore[arg-type]
                parts.append(f"### `{name}.{key}`: `{returns}`\n\n{_text(member)}")
            elif inspect.isfunction(member) and not key.startswith("_"):
                parts.append(_documented(f"{name}.{key}", member, "###"))
    return "\n".join(parts)


def _documented(name: str, function: Any, level: str = "##") -> str:
    signature = str(inspect.signature(function)).replace("'", "").replace("(self, ", "(").replace("(self)", "()")
    return f"{level} `{name}`\n\n```text\n{name}{signature}\n```\n\n{_text(function)}"


def _text(found: Any) -> str:
    """A docstring, its arguments and errors as a list."""
    lines = []
    for line in (inspect.getdoc(found) or "").splitlines():
        if line in ("Args:", "Raises:"):
            lines += [f"{'Arguments' if line == 'Args:' else 'Errors'}:", ""]
        elif (inside := line.strip()) and line.startswith("    ") and not line.startswith("     "):
            lines.append(f"- {inside}")
        else:
            lines.append(inside)
    return "\n".join(lines).rstrip() + "\n"


def profiles() -> str:
    """A table for each section of a profile."""
    from retort_pipelines.profiles import Profile

    parts = [
        "# Profiles\n\n"
        "A profile says where a run's stages go on one cluster. `--profile` takes a name in `pipelines/profiles` or "
        "a path; a file may name another one that it is laid over with `extends: FILE`.\n",
        _section("Top level", Profile),
    ]
    seen = dict.fromkeys(kind for _, kind in _models(Profile, ""))
    places = {kind: [place for place, one in _models(Profile, "") if one is kind] for kind in seen}
    parts += [_section(", ".join(f"`{place}`" for place in places[kind]), kind) for kind in seen]
    return "\n".join(parts)


def _models(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, type[BaseModel]]]:
    for name, field in model.model_fields.items():
        found = [kind for kind in _walk(field.annotation) if isinstance(kind, type) and issubclass(kind, BaseModel)]
        for kind in found:
            place = f"{prefix}{name}" + ("[]" if _is_list(field.annotation) else "")
            if len(found) > 1:
                place += f" (type: {get_args(kind.model_fields['type'].annotation)[0]})"
            yield place, kind
            yield from _models(kind, f"{prefix}{name}.")


def _walk(annotation: Any) -> Iterator[Any]:
    """An annotation and everything inside it, in order."""
    yield annotation
    for inner in get_args(annotation) if get_origin(annotation) is not typing.Literal else ():
        yield from _walk(inner)


def _is_list(annotation: Any) -> bool:
    return any(get_origin(kind) is list for kind in _walk(annotation))


def _section(title: str, model: type[BaseModel]) -> str:
    rows = [
        _row(
            f"`{field.alias or name}`",
            _kind(field.annotation) + _limits(field),
            _default(field),
            _cell(field.description or _TYPE_WORDS.get(name, "")),
        )
        for name, field in model.model_fields.items()
    ]
    words = (model.__doc__ or "").strip().split("\n\n")[0].replace("\n", " ")
    head = "| Key | Value | Default | Meaning |\n|---|---|---|---|\n"
    return f"## {title}\n\n{' '.join(words.split())}\n\n{head}" + "\n".join(rows) + "\n"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _kind(annotation: Any) -> str:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is typing.Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin is typing.Annotated:
        return _kind(inner[0])
    if origin in (list, dict):
        return f"{'list of' if origin is list else 'mapping of names to'} {_kind(inner[-1])}"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(_kind(kind) for kind in inner if kind is not type(None)))
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    names = {str: "text", int: "whole number", float: "number", bool: "true or false"}
    return names.get(annotation, str(annotation))


def _limits(field: FieldInfo) -> str:
    signs = (
        (annotated_types.Ge, "ge", "≥"),
        (annotated_types.Gt, "gt", ">"),
        (annotated_types.Le, "le", "≤"),
        (annotated_types.Lt, "lt", "<"),
    )
    found = [
        f"{sign} {getattr(item, key):g}"
        for kind, key, sign in signs
        for item in field.metadata
        if isinstance(item, kind)
    ]
    return f", {', '.join(found)}" if found else ""


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "–"
    if value is None:
        return "left out"
    if isinstance(value, BaseModel):
        changed = {name: getattr(value, name) for name in sorted(value.model_fields_set)}
        return ", ".join(f"`{name}: {item}`" for name, item in changed.items()) or "its defaults"
    if isinstance(value, list) and value and isinstance(value[0], BaseModel):
        return ", ".join(f"`{item.model_dump(exclude_unset=True)}`" for item in value)
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def command_line() -> str:
    """Every verb of the `retort` command with its arguments and options."""
    from retort.cli.app import app

    parts = [
        "# Command line\n\n"
        "Data goes to standard output, logs and progress to standard error. Errors that you can mend are one message "
        "and an exit code: see [exit codes](exit-codes.md).\n"
    ]
    for command in app.registered_commands:
        parts += _verb(f"retort {command.name}", command.callback)
    for group in app.registered_groups:
        if group.typer_instance is None:
            continue
        parts.append(f"## retort {group.name}\n\n{group.typer_instance.info.help}\n")
        for command in group.typer_instance.registered_commands:
            name = f"retort {group.name} {command.name or getattr(command.callback, '__name__', '')}"
            parts += _verb(name, command.callback, level=3)
    return "\n".join(parts)


def _verb(name: str, verb: Any, *, level: int = 2) -> Iterator[str]:
    """One verb: what it does, how it is called, its arguments and options."""
    kinds = typing.get_type_hints(verb, include_extras=True)
    rows, arguments = [], []
    for key, parameter in inspect.signature(verb).parameters.items():
        if kinds[key] is typer.Context:
            continue
        kind, info = get_args(kinds[key])
        is_argument = isinstance(info, ArgumentInfo)
        # In Annotated, typer takes the first declaration for the default and sorts that out later.
        declared = [item for item in (info.default, *(info.param_decls or ())) if isinstance(item, str)]
        shown = key.upper() if is_argument else ", ".join(declared or [f"--{key.replace('_', '-')}"])
        arguments += [shown] if is_argument else []
        rows.append(_row(f"`{shown}`", _shown_default(parameter.default), _cell((info.help or "") + _choices(kind))))
    usage = " ".join([name, "[OPTIONS]", *arguments])
    yield f"{'#' * level} {name}\n\n{_paragraph(verb.__doc__ or '')}\n\n```text\n{usage}\n```\n"
    if rows:
        yield "| Name | Default | Meaning |\n|---|---|---|\n" + "\n".join(rows) + "\n"


def _shown_default(value: Any) -> str:
    if value is inspect.Parameter.empty or value is None or value is False:
        return "–"
    return f"`{getattr(value, 'value', value)}`"


def _choices(kind: Any) -> str:
    if isinstance(kind, type) and issubclass(kind, Enum):
        return f" One of {', '.join(f'`{choice.value}`' for choice in kind)}."
    if get_origin(kind) is typing.Literal:
        return f" One of {', '.join(f'`{choice}`' for choice in get_args(kind))}."
    return ""


def table_schemas() -> str:
    """Every table with its columns."""
    lines = Path(tables.__file__).read_text(encoding="utf-8").splitlines()
    parts = [
        "# Tables\n\nStages exchange Parquet tables. A stage checks its inputs against these schemas and refuses a "
        "file that lacks a column or has it in another type; columns beyond them are ignored.\n"
    ]
    for name, schema in vars(tables).items():
        if isinstance(schema, pa.Schema):
            rows = [
                _row(f"`{field.name}`", f"{field.type}{', may be null' if field.nullable else ''}", _words_of(field))
                for field in schema
            ]
            head = f"## {name}\n\n{_words_under(lines, name)}\n\n| Column | Type | Meaning |\n|---|---|---|\n"
            parts.append(head + "\n".join(rows) + "\n")
    return "\n".join(parts)


def _words_of(field: pa.Field) -> str:
    return _cell(field.metadata[b"description"].decode())


def _words_under(lines: list[str], name: str) -> str:
    """The string that stands under a module's constant, which Python itself does not keep."""
    start = next(number for number, line in enumerate(lines) if line.startswith(f"{name} = "))
    first = next(number for number in range(start, len(lines)) if lines[number].startswith('"""'))
    return lines[first].strip('"')


def exit_codes() -> str:
    """Exit codes by class of error."""
    rows = [
        "| 0 | | Done |",
        "| 1 | | A mistake in Retort itself; the traceback says where |",
        "| 2 | | The command line is wrong |",
    ]
    for kind in _errors(errors.RetortError):
        if kind is not errors.RetortError:
            code = "the stage's" if kind is errors.StageError else str(kind.exit_code)
            rows.append(_row(code, f"`{kind.__name__}`", _cell(_paragraph(kind.__doc__ or ""))))
    return (
        "# Exit codes\n\nThey are stable. A scheduler may retry every failure but 64, 65, 69 and 70: those are refused "
        "again however often they are tried. 75 means that another attempt resumes where this one stopped.\n\n"
        "| Code | Error | Meaning |\n|---|---|---|\n" + "\n".join(rows) + "\n"
    )


def _errors(kind: type[errors.RetortError]) -> Iterator[type[errors.RetortError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _errors(child)


def _paragraph(text: str) -> str:
    """First paragraph of a docstring on one line."""
    return " ".join(text.strip().split("\n\n")[0].replace("\f", "").split())


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def main() -> int:
    """Write the pages, or with --check name those that are stale and return 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a page is stale")
    check = parser.parse_args().check
    stale = []
    for name, text in pages().items():
        file = FOLDER / name
        if file.exists() and file.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if not check:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
    for name in stale:
        print(f"docs/reference/{name}: {'is stale: run `make docs`' if check else 'written'}", file=sys.stderr)
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
