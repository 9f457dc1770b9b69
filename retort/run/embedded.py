"""Files that come with Retort, by the names that its configurations give them; a project's own of that name wins."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from retort.run.code_hash import PACKAGE

_PREFIXES = ("retort/demo/", "configs/")


def embedded(name: str) -> Path:
    """Where the file is that comes with Retort under `name`: `retort/demo/assets/...`, `configs/NAME`."""
    if name.startswith("configs/"):
        return Path(str(resources.files("retort_configs"))) / name.removeprefix("configs/")
    return PACKAGE.parent / name


def is_embedded(name: str, root: Path) -> bool:
    """Whether `name` means a file that comes with Retort rather than one of the project in `root`."""
    if not name.startswith(_PREFIXES) or not embedded(name).exists():
        return False
    return not (root / name).exists() or (root / name).resolve() == embedded(name).resolve()


def exists(name: str, root: Path) -> bool:
    """Whether the project in `root` has `name`, or Retort brings it along."""
    return (root / name).exists() or is_embedded(name, root)


def place(name: str, root: Path) -> Path:
    """Where `name` lies: in the project in `root`, or where Retort brings it along."""
    return embedded(name) if is_embedded(name, root) else root / name
