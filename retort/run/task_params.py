"""Parameters that an entry of `students` or `rewards` gives a task: what it says itself, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Needs:
    """What a student's method and reward add to a task."""

    params: list[str] = field(default_factory=list)
    operation: list[str] = field(default_factory=list)
    deps: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)
    modules: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    images: set[str] = field(default_factory=set)
    votes: bool = False
    judged: bool = False


def said_keys(entry: Any, settings: Any) -> list[str]:
    """Keys of an entry of `students` or `rewards` that are said and decide results, the engine aside.

    `settings` is the class of what the entry overrides.
    """
    names = {field.alias or name: getattr(entry, name) for name, field in type(entry).model_fields.items()}
    own, _ = overrides(entry, settings)
    return [key for key, value in names.items() if value is not None and key != "engine"] + own


def overrides(entry: Any, settings: Any) -> tuple[list[str], list[str]]:
    """What an entry overrides of its class of settings: keys that decide results, and those that do not."""
    aside: frozenset[str] = getattr(settings, "NOT_CONTENT", frozenset())
    return [key for key in entry.overrides if key not in aside], [key for key in entry.overrides if key in aside]


def leaves(keys: Iterable[str], section: Any, prefix: str, but: Iterable[str]) -> list[str]:
    """Content keys of a section without the settings `but`, which an entry says instead."""
    but = set(but)
    if not but:
        return list(keys)
    found: list[str] = []
    for key in keys:
        if key == prefix:  # the whole section: taken apart
            found += [f"{prefix}.{name}" for name in type(section).model_fields if name not in but]
        elif key.split(".")[1] not in but:
            found.append(key)
    return found
