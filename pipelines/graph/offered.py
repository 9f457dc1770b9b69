"""What a person may change who starts or clones a run in Kubeflow's interface: parameters with type and meaning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retort.config import RetortConfig, resolved
from retort.config.typed import Typed, shown, typed
from retort.run.embedded import is_embedded
from retort.run.graph import Graph

ADDRESS = "prompts_address"
"""Parameter with the address of the prompts; `prompts_address_2` of the second file."""


@dataclass(frozen=True)
class Shown:
    """One parameter as Kubeflow shows it."""

    name: str
    type: type
    default: Any
    words: str


@dataclass(frozen=True)
class Offered:
    """The parameters of a pipeline beside the settings of its groups."""

    values: tuple[Typed, ...]
    """Values of the configuration."""
    files: Mapping[str, str]
    """Source files whose content may be taken from elsewhere, by the name of the parameter with the address."""
    parameters: tuple[Shown, ...]
    """All of them."""

    def of(self, keys: Sequence[str]) -> list[Typed]:
        """The values of some keys."""
        return [one for one in self.values if one.key in keys]


def offered(config: RetortConfig, made: Graph, root: Path) -> Offered:
    """What the pipeline of `config` offers, with the configuration's values as defaults.

    Args:
        config: The configuration.
        made: Its graph.
        root: Folder that its paths start from.
    """
    values, plain = typed(config), resolved(config)
    names = [ADDRESS if number == 1 else f"{ADDRESS}_{number}" for number in range(1, len(config.prompts.sources) + 1)]
    files = dict(zip(names, _prompt_files(config, made, root), strict=False))
    parameters = [Shown(one.name, type_of(one), shown(plain, one), one.words) for one in values]
    parameters += [
        Shown(name, str, "", f"Address (s3://BUCKET/FILE) of the content of {path}; empty: as it was submitted.")
        for name, path in files.items()
    ]
    return Offered(tuple(values), files, tuple(parameters))


def type_of(one: Typed) -> type:
    """Its type in Python."""
    return int if one.kind.startswith("int") else float


def _prompt_files(config: RetortConfig, made: Graph, root: Path) -> list[str]:
    """Files of prompts that no other stage reads and that are not Retort's own; a folder has no one address."""
    others = {name for task in made for name in task.sources if task.stage.name != "prompts"}
    files = dict.fromkeys(one.path for one in config.prompts.sources if one.type == "file")
    return [path for path in files if path not in others and not is_embedded(path, root) and not (root / path).is_dir()]
