"""Write each component's README from its docstring: `python -m components.generate`; a test holds them to it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from components import stages

FOLDER = Path(__file__).parent

_TYPES = {"String": "string", "List": "list of strings"}


def readme(component: Any) -> str:
    """README of a component: what it does, its inputs and its output."""
    words = component.python_func.__doc__
    summary = words.strip().splitlines()[0]
    arguments = dict(re.findall(r"^        (\w+): (.+)$", words, re.MULTILINE))
    output = words.partition("Returns:\n")[2].strip()
    inputs = component.component_spec.inputs
    lines = [f"# {component.name.replace('-', '_')}", "", summary, "", "## Inputs", "", "| name | type | meaning |"]
    lines += [
        "|---|---|---|",
        *(f"| `{name}` | {_TYPES[spec.type]} | {arguments[name]} |" for name, spec in inputs.items()),
    ]
    lines += [
        "",
        "## Output",
        "",
        "| name | type | meaning |",
        "|---|---|---|",
        f"| `Output` | string | {output} |",
        "",
    ]
    return "\n".join([*lines, "Made by `python -m components.generate` from the docstring in `component.py`.", ""])


def main() -> None:
    """Write every README."""
    for name in stages.__all__:
        (FOLDER / name / "README.md").write_text(readme(getattr(stages, name)), encoding="utf-8")


if __name__ == "__main__":
    main()
