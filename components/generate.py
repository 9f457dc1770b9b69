"""Write each component's README from its docstring: `python -m retort_components.generate`; a test holds them to it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from retort_components.stages import folders

FOLDER = Path(__file__).parent

_TYPES = {
    "String": "string",
    "List": "list of strings",
    "Dict": "mapping of strings",
    "Boolean": "boolean",
    "PipelineTaskFinalStatus": "status, given by Kubeflow",
    "system.Metrics@0.0.1": "metrics",
    "system.Model@0.0.1": "model",
    "system.Dataset@0.0.1": "data set",
    "system.HTML@0.0.1": "HTML",
    "system.Markdown@0.0.1": "Markdown",
}
_HEAD = ("| name | type | meaning |", "|---|---|---|")


def readme(component: Any) -> str:
    """README of a component: what it does, its inputs and its outputs."""
    words = component.python_func.__doc__
    summary = words.strip().splitlines()[0]
    arguments = dict(re.findall(r"^        (\w+): (.+)$", words, re.MULTILINE))
    result = words.partition("Returns:\n")[2].strip()
    spec = component.component_spec
    lines = [f"# {component.name.replace('-', '_')}", "", summary, "", "## Inputs", "", *_HEAD]
    lines += [f"| `{name}` | {_TYPES[one.type]} | {arguments[name]} |" for name, one in spec.inputs.items()]
    rows = [
        f"| `{name}` | {_TYPES[one.type]} | {arguments.get(name, result)} |"
        for name, one in (spec.outputs or {}).items()
    ]
    lines += ["", "## Outputs", "", *([*_HEAD, *rows] if rows else ["None."])]
    lines.append("")
    return "\n".join(
        [*lines, "Made by `python -m retort_components.generate` from the docstring in `component.py`.", ""]
    )


def main() -> None:
    """Write every README."""
    for name, component in folders().items():
        (FOLDER / name / "README.md").write_text(readme(component), encoding="utf-8")


if __name__ == "__main__":
    main()
