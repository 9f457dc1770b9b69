"""Finding extensions by name or by path.

A package registers a thing as a Python entry point, one line a thing; Retort's own are registered the same way in its
`pyproject.toml`. A file of the project needs no registration: `my_reward.py:score` names the file, from the folder
that the configuration's paths start from, and what it defines.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib.util
import sys
import traceback
from collections.abc import Iterator
from contextvars import ContextVar
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from retort.errors import ConfigError
from retort.plugins.benchmark import BenchmarkType
from retort.plugins.engine import EngineType
from retort.plugins.method import Method
from retort.plugins.reward import RewardType

GROUPS = {
    "method": "retort.methods",
    "reward": "retort.rewards",
    "engine": "retort.engines",
    "benchmark": "retort.benchmarks",
}
"""Entry-point group of each kind of extension."""


_ROOT: ContextVar[Path] = ContextVar("root", default=Path())


@contextlib.contextmanager
def at(root: Path) -> Iterator[None]:
    """In the block, files named by path are looked for from `root` rather than from the working folder."""
    token = _ROOT.set(root)
    try:
        yield
    finally:
        _ROOT.reset(token)


def is_path(name: str) -> bool:
    """Whether `name` says a file and what it defines (`my_reward.py:score`) rather than a registered name."""
    return ".py:" in name


def names(kind: str) -> list[str]:
    """Registered names of a kind, sorted."""
    return sorted(_registered(kind))


def module_of(kind: str, name: str) -> str | None:
    """Module that defines the extension `name`, nothing being imported; None for a file by path.

    Raises:
        ConfigError: no such name is registered.
    """
    return None if is_path(name) else _entry(kind, name).value.partition(":")[0].strip()


def source_of(name: str) -> str | None:
    """The file that a name by path names, as the configuration has it; None for a registered name."""
    return name.rpartition(":")[0] if is_path(name) else None


def load(kind: str, name: str) -> Any:
    """The extension `name`, imported.

    Args:
        kind: method, reward, engine or benchmark.
        name: A registered name, or `file.py:attribute`.

    Raises:
        ConfigError: there is none of this name, it does not import (with its traceback), lacks the attribute, or is
            something else than its kind.
    """
    where, found = _from_file(kind, name) if is_path(name) else _from_package(kind, name)
    expected = _KINDS[kind]
    if not isinstance(found, expected):
        raise ConfigError(
            f"{where}: is a {type(found).__name__}, where a retort.plugins.{expected.__name__} is needed; "
            "docs/guides/extending.md shows one."
        )
    if not is_path(name) and found.name != name:
        raise ConfigError(f"{where}: calls itself {found.name!r}. Register it under that name.")
    return found


_KINDS: dict[str, Any] = {"method": Method, "reward": RewardType, "engine": EngineType, "benchmark": BenchmarkType}


def function(place: str, name: str) -> Any:
    """A function of a file of the project, named `file.py:function`.

    Raises:
        ConfigError: the file does not exist or import, or defines no such function.
    """
    where, found = _from_file(place, name)
    if not callable(found):
        raise ConfigError(f"{where}: is a {type(found).__name__} and cannot be called.")
    return found


def _from_package(kind: str, name: str) -> tuple[str, Any]:
    entry = _entry(kind, name)
    where = f"{kind} {name!r}, registered as {entry.value!r} in group {entry.group!r}"
    if entry.dist is not None:
        where += f" by package {entry.dist.name} {entry.dist.version}"
    try:
        return where, entry.load()
    except Exception as error:
        raise ConfigError(_does_not_load(where, error)) from error


@cache
def _registered(kind: str) -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUPS[kind])}


def _entry(kind: str, name: str) -> EntryPoint:
    known = _registered(kind)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known))}"
        raise ConfigError(
            f"unknown {kind} {name!r}; {hint} A package of yours registers one as an entry point of {GROUPS[kind]!r}; "
            "a file of yours is named as my_file.py:NAME."
        )
    return known[name]


def _from_file(kind: str, name: str) -> tuple[str, Any]:
    path, _, attribute = name.rpartition(":")
    root, where = _ROOT.get(), f"{kind} {name!r}"
    if not (root / path).is_file():
        raise ConfigError(f"{where}: {root / path} does not exist. Correct the path, which starts from {root}.")
    module = _module((root / path).resolve(), where)
    if not hasattr(module, attribute):
        public = sorted(found for found in vars(module) if not found.startswith("_"))
        near = difflib.get_close_matches(attribute, public, n=1, cutoff=0.5)
        raise ConfigError(f"{where}: {path} defines no {attribute!r}; it has {', '.join(near or public)}.")
    return where, getattr(module, attribute)


@cache
def _module(file: Path, where: str) -> Any:
    # Named after the file, so that what it defines can be pickled and traced back.
    spec = importlib.util.spec_from_file_location(f"retort_plugin_{file.stem}", file)
    assert spec is not None, "a .py file has a loader"
    assert spec.loader is not None, "a .py file has a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[spec.name]
        raise ConfigError(_does_not_load(f"{where} ({file.name})", error)) from error
    return module


def _does_not_load(where: str, error: Exception) -> str:
    shown = "".join(traceback.format_exception(error)).rstrip()
    return f"{where}: does not import. Mend the module, or take it out of the configuration:\n{shown}"
