"""Reading YAML as people mean it: a key that is given twice is a mistake, not an answer."""

from __future__ import annotations

from typing import Any

import yaml


class DuplicateKeyError(yaml.YAMLError):
    """A mapping names a key twice: the second would silently replace the first, with all that stands under it."""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which takes the last of two equal keys, with a check before."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    lines: dict[Any, int] = {}
    for key_node, _ in node.value:
        if key_node.tag == "tag:yaml.org,2002:merge":
            continue
        key = loader.construct_object(key_node, deep=True)
        line = key_node.start_mark.line + 1
        if isinstance(key, str | int | float | bool) and lines.setdefault(key, line) != line:
            raise DuplicateKeyError(f"line {line} gives {key!r} again, which line {lines[key]} gave. Join the two")
    loader.flatten_mapping(node)
    found: dict[Any, Any] = loader.construct_mapping(node, deep=True)
    return found


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_yaml_text(text: str) -> Any:
    """The value of a YAML text.

    Raises:
        yaml.YAMLError: it is no YAML.
        DuplicateKeyError: a mapping names a key twice; says both lines.
    """
    return yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader, with a check
