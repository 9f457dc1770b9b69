"""Reading a configuration from YAML: overlays, single changes, earlier keys, and the part that one task may see."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError, create_model

from retort import plugins
from retort.config.base import Strict, content_keys, operation_keys
from retort.config.earlier import translated
from retort.config.models import engine_type
from retort.config.run import RetortConfig, problems
from retort.config.students import StudentConfig, StudentEngine
from retort.config.yaml_text import read_yaml_text
from retort.errors import ConfigError, InputError

_log = logging.getLogger(__name__)


def load_config(path: Path, *overlays: Path, changes: Sequence[str] = (), root: Path | None = None) -> RetortConfig:
    """Read a configuration; each overlay replaces the keys that it names, sections merged key by key.

    Args:
        path: The configuration, a file or the name of one that comes with Retort (`demo`).
        overlays: Files that are laid over it, one after another.
        changes: Single values laid over all of them, as `section.key=VALUE` with VALUE in YAML.
        root: Folder that its paths start from; the working folder when left out.

    Raises:
        ConfigError: a file is missing or no YAML mapping, a key is unknown, or a value is out of range.
    """
    source = ", ".join([*map(str, (path, *overlays)), *changes])
    merged: dict[str, Any] = {}
    for values in (*map(read_yaml, (find(path), *overlays)), *map(_change, changes)):
        try:
            now, notes = translated(values)
        except ValueError as error:
            raise ConfigError(f"{source}: {error}.") from error
        for note in notes:
            _log.warning("%s: %s; the old key is understood for now", source, note)
        merged = _merge(merged, now)
    with plugins.at(root or Path()):
        try:
            return RetortConfig.model_validate(merged)
        except ValidationError as error:
            raise ConfigError(_explain(error, source)) from error
        except ConfigError as error:
            raise ConfigError(f"{source}: {error}") from error


def find(path: Path) -> Path:
    """A configuration by its path, or by name among those that come with Retort."""
    if path.is_file():
        return path
    shipped = {Path(file.name).stem: file for file in resources.files("retort_configs").iterdir()}
    shipped = {name: file for name, file in shipped.items() if file.name.endswith(".yaml")}
    if str(path) in shipped:  # a name may have a dot: `gsm8k-qwen2.5-7b-to-0.5b`
        return Path(str(shipped[str(path)]))
    if path.suffix in (".yaml", ".yml") or path.parent != Path():
        return path
    raise ConfigError(
        f"{path}: does not exist. Give the path of a configuration, or one that comes with Retort: "
        f"{', '.join(sorted(shipped))}."
    )


def load_keys(path: Path, keys: Sequence[str]) -> RetortConfig:
    """Read only what a task declares: sections, or parts of one as `section.key` or `section.name.key`.

    Another section is an AttributeError and another key of a section has its default, so a stage cannot come to
    depend on a parameter that neither DVC nor Kubeflow knows of.
    """
    values = pick(read_yaml(path), keys)
    with plugins.at(path.parent):
        fields: dict[str, Any] = {}
        for name in dict.fromkeys(key.partition(".")[0] for key in keys):
            field = RetortConfig.model_fields.get(name)
            fields[name] = (plugins.load("method", _method_of(path, name)).config, ...) if field is None else field
        fields = {name: kind if isinstance(kind, tuple) else (kind.annotation, kind) for name, kind in fields.items()}
        if "students" in fields:  # of a student that is only sampled from, nothing but its engine
            fields["students"] = (dict[str, StudentConfig | StudentEngine], ...)
        try:
            part = create_model("Part", __base__=Strict, **fields).model_validate(values)
            config = RetortConfig.partial({name: getattr(part, name) for name in fields})
        except (ValidationError, ValueError) as error:
            words = _explain(error, str(path)) if isinstance(error, ValidationError) else f"{path}: {error}"
            raise ConfigError(words) from error
    return config


def _method_of(path: Path, section: str) -> str:
    """The method whose section is called `section`, as a student of the configuration names it."""
    if section in plugins.names("method"):
        return section
    for entry in (read_yaml(path).get("students") or {}).values():
        if plugins.load("method", str(entry["method"])).name == section:
            return str(entry["method"])
    raise ConfigError(f"{path}: {section}: no student's method is called so.")


def pick(values: dict[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """The part of a configuration that dotted `keys` name; keys that it lacks are left out."""
    picked: dict[str, Any] = {}
    for key in keys:
        *folders, name = key.split(".")
        source, target = values, picked
        for folder in folders:
            source = source.get(folder) if isinstance(source, dict) else {}  # type: ignore[assignment]
            if not isinstance(source, dict):
                break
        if isinstance(source, dict) and name in source:
            for folder in folders:
                target = target.setdefault(folder, {})
            target[name] = source[name]
    return picked


def resolved(config: RetortConfig) -> dict[str, Any]:
    """The configuration with every default written out, as plain values."""
    values = config.model_dump(mode="json", by_alias=True)
    for section in ("students", "rewards"):
        for entry in values[section].values():
            for key in [key for key, value in entry.items() if value is None and key not in ("from",)]:
                del entry[key]
    return values


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping; the key `extends` names a file beside it that it is laid over."""
    if not path.exists():
        raise ConfigError(f"{path}: does not exist. Give the path of a configuration, such as configs/demo.yaml.")
    try:
        values: Any = read_yaml_text(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not YAML in UTF-8: {error}") from error
    if not isinstance(values, dict):
        raise InputError("is not a mapping of sections", file=path, remedy="Start from configs/demo.yaml")
    if (base := values.pop("extends", None)) is not None:
        values = _merge(translated(read_yaml(path.parent / base))[0], translated(values)[0])
    found: dict[str, Any] = values
    return found


def _change(text: str) -> dict[str, Any]:
    """`a.b=1` as `{"a": {"b": 1}}`."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise ConfigError(f"{text!r} changes nothing: write section.key=VALUE, such as ppo.iterations=20.")
    try:
        change: Any = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"{text!r}: the value is not YAML: {error}") from error
    for part in reversed(key.split(".")):
        change = {part: change}
    found: dict[str, Any] = change
    return found


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        # A section of another type replaces the one below: the fields of one union member mean nothing in another.
        if isinstance(old, dict) and isinstance(value, dict) and _kind(value) in (None, _kind(old) or "transformers"):
            merged[key] = _merge(old, value)
        else:
            merged[key] = value
    return merged


def _kind(section: Any) -> str | None:
    """What tells a union's members apart: `type`, or that of a model's engine; None where nothing is said."""
    engine = section.get("engine")
    named = section.get("type")
    # A model whose weights are here stays the same model, whichever engine runs them.
    if named is None and isinstance(engine, dict) and not _runs_weights(engine.get("type", "transformers")):
        named = engine["type"]
    return None if named is None else str(named)


def _runs_weights(engine: Any) -> bool:
    try:
        found: bool = engine_type(str(engine)).config.WEIGHTS
    except ValueError:  # said where the configuration is checked
        return False
    return found


def _explain(error: ValidationError, source: str) -> str:
    return "\n".join([f"{source}: {error.error_count()} problem(s)", *(f"  {line}" for line in problems(error))])


__all__ = ["content_keys", "find", "load_config", "load_keys", "operation_keys", "pick", "read_yaml", "resolved"]
