"""The files of the package that a stage's result depends on, found by reading imports.

A stage is run again when one of them changes. Imports are read from the syntax tree, those inside functions
included, so nothing is imported and nothing is forgotten. Left out are modules that decide where and when a stage
runs but not what it computes: changing how a progress line looks must not retrain a model.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from retort.io.files import content_hash

PACKAGE = Path(__file__).parents[1]

SKELETON = frozenset(
    {
        "retort.run.code_hash",  # finds code
        "retort.config",  # checks values; the values themselves are parameters
        "retort.errors",  # words of errors
        "retort.io.files",  # atomic writing
        "retort.run.graph",  # which stage reads what: in dvc.yaml itself
        "retort.modeling.preemption",  # when a stage stops early
        "retort.run.paths",  # names of outputs: in dvc.yaml itself
        "retort.io.progress",  # lines on stderr
        "retort.run.stage",  # calls the stage
    }
)
"""Modules, with what is inside them, that do not decide what a stage computes."""


@cache
def closure(module: str, package: Path = PACKAGE) -> tuple[str, ...]:
    """Files that `module` and all that it imports of the package are made of.

    Args:
        module: Dotted name, such as `retort.stages.sft`.
        package: Folder of the package; its name is the first part of the dotted names.

    Returns:
        Sorted POSIX paths from the package's parent folder (`retort/stages/sft.py`). An `__init__.py` that only
        documents is left out.
    """
    found: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in found or any(name == skipped or name.startswith(skipped + ".") for skipped in SKELETON):
            continue
        file = _file(name, package)
        if file is None:
            continue
        found[name] = file
        waiting += [*_parents(name), *_imports(name, file, package)]
    files = (file for file in found.values() if _does_something(file))
    return tuple(sorted(file.relative_to(package.parent).as_posix() for file in files))


def _file(name: str, package: Path) -> Path | None:
    place = package.parent.joinpath(*name.split("."))
    candidates = (place.with_suffix(".py"), place / "__init__.py")
    return next((file for file in candidates if file.is_file()), None)


def _parents(name: str) -> Iterator[str]:
    while "." in name:
        name = name.rpartition(".")[0]
        yield name


def _imports(name: str, file: Path, package: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"), filename=str(file))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: the package uses absolute imports"
            # `from a import b`: b may be a module or a name inside a.
            names = [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        yield from (found for found in names if found.split(".")[0] == package.name and found != name)


def _does_something(file: Path) -> bool:
    body = ast.parse(file.read_text(encoding="utf-8")).body
    return any(not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)) for node in body)


def code_hash(files: Iterable[str]) -> str:
    """SHA-256 of files of the package, named as `closure` names them."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file} {content_hash(PACKAGE.parent / file)}\n".encode())
    return digest.hexdigest()
