"""What every configuration model shares: unknown keys refused with the nearest known name, words under each field."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, model_validator


class Strict(BaseModel):
    """A configuration section. The string under a field is its description, shown in docs and `--help`."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, validate_default=True, populate_by_name=True
    )

    NOT_CONTENT: ClassVar[frozenset[str]] = frozenset()
    """Fields that decide how a stage runs (its speed, price, address or patience) but not what it computes: a change
    of one makes nothing run again."""

    @model_validator(mode="before")
    @classmethod
    def _unknown_keys_name_the_nearest_known(cls, values: Any) -> Any:
        if isinstance(values, dict) and cls.model_config.get("extra") == "forbid":
            known = {field.alias or name for name, field in cls.model_fields.items()}
            for key in values:
                if key not in known and key not in cls.model_fields:
                    raise ValueError(unknown(f"key {str(key)!r}", str(key), sorted(known)))
        return values


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """Words for an unknown name, with the nearest known one: `unknown key 'step'; did you mean 'steps'?`."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"unknown {what}; " + (f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}")


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections as `section.key`."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def content_keys(section: Strict, prefix: str) -> list[str]:
    """Dotted names of what of `section` decides results: the section itself where all of it does.

    Args:
        section: A section of the configuration, with sections inside.
        prefix: Its dotted name.
    """
    if not _has_operation(section):
        return [prefix]
    keys: list[str] = []
    for name, field in type(section).model_fields.items():
        key = f"{prefix}.{field.alias or name}"
        value = getattr(section, name)
        if name in section.NOT_CONTENT:
            continue
        keys += content_keys(value, key) if isinstance(value, Strict) else [key]
    return keys + [f"{prefix}.{name}" for name in section.model_extra or {}]


def operation_keys(section: Strict, prefix: str) -> list[str]:
    """Dotted names of what of `section` decides only how it is computed."""
    keys: list[str] = []
    for name, field in type(section).model_fields.items():
        key = f"{prefix}.{field.alias or name}"
        value = getattr(section, name)
        if name in section.NOT_CONTENT:
            keys.append(key)
        elif isinstance(value, Strict):
            keys += operation_keys(value, key)
    return keys


def _has_operation(section: Strict) -> bool:
    return bool(section.NOT_CONTENT) or any(
        _has_operation(value)
        for value in (getattr(section, name) for name in type(section).model_fields)
        if isinstance(value, Strict)
    )
