"""The code that a task's result depends on: files found by reading imports, hashed without comments and docstrings.

A task is run again when one of them changes. Imports are read from the syntax tree, those inside functions included,
so nothing is imported and nothing is forgotten. Left out are modules that decide where and when a stage runs but not
what it computes, and those that the configuration does not use: a change in the judge must not repeat a vote, a
change in the words of a comment nothing at all.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
from collections.abc import Collection, Iterable, Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1]

NOT_HASHED = frozenset(
    {
        "retort.config",  # checks values; the values themselves are parameters
        "retort.errors",  # words of errors
        "retort.interface",  # for a user's script; the package itself names it
        "retort.io.files",  # atomic writing
        "retort.io.progress",  # lines on stderr
        "retort.io.rank",  # which process writes
        "retort.modeling.preemption",  # when a stage stops early
        "retort.plugins",  # finds code
        "retort.tracking",  # where figures are shown as well
        "retort.run",  # which task reads what, and calls it: in dvc.yaml itself
    }
)
"""Modules, with what is inside them, that do not decide what a stage computes."""


@cache
def closure(modules: tuple[str, ...], without: frozenset[str] = frozenset()) -> tuple[tuple[str, Path], ...]:
    """Files that `modules` and all that they import of their packages and of Retort are made of.

    Args:
        modules: Dotted names, such as `retort.stages.votes`.
        without: Further modules, with what is inside them, that are left out.

    Returns:
        Sorted pairs of name (`retort/stages/votes.py`) and file. An `__init__.py` that only documents is left out.
    """
    packages = {PACKAGE.name: PACKAGE} | {name.partition(".")[0]: _folder(name.partition(".")[0]) for name in modules}
    skipped = NOT_HASHED | without
    found: dict[str, Path] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in found or any(name == one or name.startswith(one + ".") for one in skipped):
            continue
        file = _file(name, packages[name.partition(".")[0]])
        if file is None:
            continue
        found[name] = file
        waiting += [*_parents(name), *(one for one in _imports(name, file) if one.partition(".")[0] in packages)]
    named = (
        (file.relative_to(packages[name.partition(".")[0]].parent).as_posix(), file) for name, file in found.items()
    )
    return tuple(sorted((name, file) for name, file in named if _does_something(file)))


def code_hash(modules: Iterable[str], without: Collection[str] = ()) -> str:
    """SHA-256 of what `closure` finds: names of files, and what they do."""
    digest = hashlib.sha256()
    for name, value in file_hashes(modules, without).items():
        digest.update(f"{name} {value}\n".encode())
    return digest.hexdigest()


def file_hashes(modules: Iterable[str], without: Collection[str] = ()) -> dict[str, str]:
    """SHA-256 of each file that `closure` finds, without comments and docstrings."""
    return {name: _hash(file) for name, file in closure(tuple(sorted(modules)), frozenset(without))}


@cache
def _hash(file: Path) -> str:
    tree = ast.parse(file.read_text(encoding="utf-8"), filename=str(file))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and _documented(node):
            node.body = node.body[1:] or [ast.Pass()]
    # Without positions, so that lines may move; dump() writes every field that decides what runs.
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _documented(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    first = node.body[0] if node.body else None
    return isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)


@cache
def _folder(package: str) -> Path:
    """Folder of a top-level package, or of a module that is one file."""
    if package == PACKAGE.name:
        return PACKAGE
    spec = importlib.util.find_spec(package)
    assert spec is not None, "it has been imported"
    assert spec.origin is not None, "a package of extensions has files"
    file = Path(spec.origin)
    return file.parent if file.name == "__init__.py" else file.with_suffix("")


def _file(name: str, package: Path) -> Path | None:
    place = package.parent.joinpath(*name.split("."))
    candidates = (place.with_suffix(".py"), place / "__init__.py")
    return next((file for file in candidates if file.is_file()), None)


def _parents(name: str) -> Iterator[str]:
    while "." in name:
        name = name.rpartition(".")[0]
        yield name


def _imports(name: str, file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"), filename=str(file))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = name.split(".") if file.name == "__init__.py" else name.split(".")[:-1]
            base = [*above[: len(above) - node.level + 1], node.module] if node.level else [node.module]
            whole = ".".join(part for part in base if part)
            # `from a import b`: b may be a module or a name inside a.
            names = [whole, *(f"{whole}.{alias.name}" for alias in node.names)]
        else:
            continue
        yield from (found for found in names if found != name)


def _does_something(file: Path) -> bool:
    body = ast.parse(file.read_text(encoding="utf-8")).body
    return any(not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)) for node in body)
