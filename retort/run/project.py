"""A project: a folder with `retort.yaml`, made by `retort init`, in which `retort run` needs no arguments.

`retort.yaml` is written by hand and says what differs from the defaults. From it follow `params.yaml`, `dvc.yaml` and
`code.yaml`, which DVC compares: git keeps them with `dvc.lock` and the figures, so the folder is a DVC project.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from retort.config import load_config, resolved
from retort.config.base import Strict, flat, unknown
from retort.config.load import read_yaml
from retort.errors import ConfigError
from retort.io.files import atomic_path, write_text
from retort.run import dvc_adapter, workspace
from retort.run.embedded import embedded

CONFIG = "retort.yaml"
"""A project's own configuration."""
_PARAMS = "params.yaml"
_ABOUT = "begin.yaml"
_MARK = "# Values: "
_HEADER = """\
# Made by `retort run` from {config}, every value written out so that DVC can compare it. Change {config} instead.
{mark}{digest}
"""
_IGNORED = """\
# What runs make is kept by DVC, by content; git keeps retort.yaml, params.yaml, dvc.yaml, dvc.lock and metrics/.
/outputs/
/curves/
/.retort/
/.dvc-remote/
/dvc_plots/
/report.html
/champion/
/runs/**
# To keep a named run's lock, parameters and figures in git too, take the # away:
# !/runs/*/
# !/runs/*/dvc.lock
# !/runs/*/params.yaml
# !/runs/*/metrics/
# !/runs/*/metrics/*.json
"""


class _About(Strict):
    """What a beginning is, in `begin.yaml` beside its files."""

    summary: str
    """What it is, in a line."""
    config: str | None = None
    """Configuration of Retort's that becomes `retort.yaml`, with paths as in `copies`; None where one lies beside."""
    head: str = ""
    """Comment in place of that configuration's own."""
    copies: dict[str, str] = {}
    """Files and folders of the project that are copies of what comes with Retort."""
    first: list[str] = []
    """What is to be changed before anything can run."""


@dataclass(frozen=True)
class Begun:
    """What `init` did."""

    summary: str
    written: list[str]
    """Files and folders of the project."""
    first: list[str]
    """What is to be changed first, in words."""
    notes: list[str]
    """What the reader should know of the folder."""


def beginnings() -> dict[str, str]:
    """What a project can begin from, by name, each with a line about it."""
    return {
        folder.name: _about(Path(str(folder))).summary
        for folder in sorted(_folder().iterdir(), key=lambda one: one.name)
        if (folder / _ABOUT).is_file()
    }


def init(root: Path, beginning: str) -> Begun:
    """Make `root` a project: its configuration, sample data, `.gitignore`, and DVC.

    Nothing that is there is replaced; `.gitignore` gets more lines, and a DVC project stays what it is.

    Raises:
        ConfigError: there is no such beginning, or files of these names are there already.
        StorageError: the folder cannot be written.
    """
    if beginning not in (known := beginnings()):
        raise ConfigError(f"--from {beginning}: {unknown(f'beginning {beginning!r}', beginning, known)}")
    source = _folder() / beginning
    about = _about(source)
    files: dict[str, Path | str] = {name: embedded(name_there) for name, name_there in about.copies.items()}
    files |= {
        file.relative_to(source).as_posix(): file
        for file in sorted(source.rglob("*"))
        if file.is_file() and file.name != _ABOUT and "__pycache__" not in file.parts
    }
    if about.config is not None:
        files[CONFIG] = _renamed(about)
    there = [name for name in (*files, _PARAMS, "dvc.yaml") if (root / name).exists()]
    if there:
        raise ConfigError(
            f"{root / there[0]}: exists already, and `retort init` replaces nothing. Begin in another folder "
            "(`retort init FOLDER`), or move it away."
        )
    for name, content in files.items():
        _write(root / name, content)
    _ignore(root / ".gitignore")
    return Begun(about.summary, [*files, ".gitignore", ".dvc"], about.first, _with_dvc(root))


def bring_up(root: Path) -> None:
    """Write `params.yaml`, `dvc.yaml` and `code.yaml` of the project in `root` from its `retort.yaml`.

    Raises:
        ConfigError: `retort.yaml` is wrong, or `params.yaml` was changed by hand, which would be lost.
        InputError: a source file does not exist.
    """
    values, file = resolved(load_config(root / CONFIG, root=root)), root / _PARAMS
    if file.exists() and (kept := read_yaml(file)) != values and _digest(kept) != _marked(file):
        raise ConfigError(
            f"{file}: was changed by hand or by `dvc exp`, and differs from {CONFIG} in {_differences(kept, values)}. "
            f"Write what you want into {CONFIG}, then delete {file}, which is made from it."
        )
    text = yaml.safe_dump(values, sort_keys=False, width=120, allow_unicode=True)
    if not file.exists() or read_yaml(file) != values:
        write_text(file, _HEADER.format(config=CONFIG, mark=_MARK, digest=_digest(values)) + text)
    workspace.refresh(root)


def is_project(root: Path) -> bool:
    """Whether `root` has a configuration of its own."""
    return (root / CONFIG).is_file()


def own_config(root: Path) -> Path:
    """The configuration that `retort run` takes in `root` without `--config`.

    Raises:
        ConfigError: there is none.
    """
    for name in (CONFIG, _PARAMS):
        if (root / name).is_file():
            return root / name
    raise ConfigError(
        "there is nothing to run in this folder. `retort init` begins a project here; `retort run --config demo` runs "
        "the embedded task in a workspace under runs/."
    )


def stores(home: Path) -> tuple[str, Path]:
    """Object store and content cache of named runs under `home`: a project's own, so that nothing is paid twice."""
    if is_project(home) and (home / ".dvc/config").exists():
        try:
            return dvc_adapter.remote(home), dvc_adapter.cache(home)
        except KeyError:  # a DVC project without a default remote
            return "runs/.remote", dvc_adapter.cache(home)
    return "runs/.remote", home / "runs/.cache"


def _folder() -> Path:
    return Path(str(resources.files("retort_configs"))) / "begin"


def _about(folder: Path) -> _About:
    return _About.model_validate(read_yaml(folder / _ABOUT))


def _renamed(about: _About) -> str:
    """The text of a configuration that comes with Retort, with the names that its files have in the project."""
    assert about.config is not None
    lines = embedded(about.config).read_text(encoding="utf-8").splitlines(keepends=True)
    while lines and lines[0].startswith("#"):
        lines.pop(0)
    text = "".join(lines)
    for name, there in about.copies.items():
        text = text.replace(there, name)
    return about.head + text


def _write(target: Path, content: Path | str) -> None:
    if isinstance(content, str):
        write_text(target, content)
        return
    with atomic_path(target) as temporary:
        if content.is_dir():
            shutil.copytree(content, temporary, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(content, temporary)


def _ignore(file: Path) -> None:
    """Add what git is to leave to DVC, where it does not say so yet."""
    before = file.read_text(encoding="utf-8") if file.exists() else ""
    known = set(before.splitlines())
    lines = [line for line in _IGNORED.splitlines() if line not in known]
    if lines:
        write_text(file, before + ("\n" if before and not before.endswith("\n") else "") + "\n".join(lines) + "\n")


def _with_dvc(root: Path) -> list[str]:
    above = [folder for folder in root.resolve().parents if (folder / ".dvc").is_dir()]
    notes = [f"lies inside the DVC project {above[0]}, and is a DVC project of its own"] if above else []
    if (root / ".dvc").exists():
        return [*notes, "was a DVC project before, whose cache and remote are used"]
    git = any((folder / ".git").exists() for folder in (root.resolve(), *root.resolve().parents))
    dvc_adapter.init_project(root, git=git)
    if not git:
        notes.append("is in no git repository: runs work, `dvc exp` and `dvc metrics diff` do not (`git init` first)")
    return notes


def _digest(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(yaml.safe_dump(dict(values), sort_keys=True).encode()).hexdigest()


def _marked(file: Path) -> str | None:
    """Hash of the values that `bring_up` wrote into `file`, as its header says; None where it did not."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return next((line.removeprefix(_MARK) for line in lines if line.startswith(_MARK)), None)


def _differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    first, second = flat(one), flat(other)
    keys = [key for key in dict.fromkeys([*first, *second]) if first.get(key) != second.get(key)]
    more = f" and {len(keys) - 5} more" if len(keys) > 5 else ""
    return ", ".join(f"{key} ({first.get(key)}, not {second.get(key)})" for key in keys[:5]) + more
