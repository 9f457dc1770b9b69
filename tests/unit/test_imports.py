"""Layers import downwards only, and what is heavy is loaded late."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

LAYERS = {"retort": "retort", "components": "retort_components", "pipelines": "retort_pipelines"}
"""Folder and import name, from the ground up."""
ROOT = Path(__file__).parents[2]


def imported(file: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(str(node.module))
    return names


@pytest.mark.parametrize("layer", LAYERS)
def test_no_layer_imports_one_above_it(layer):
    names = list(LAYERS.values())
    above = names[names.index(LAYERS[layer]) + 1 :]
    upward = {
        (file.relative_to(ROOT).as_posix(), name)
        for file in (ROOT / layer).rglob("*.py")
        for name in imported(file)
        if name.split(".")[0] in above
    }
    assert upward == set()


def test_the_library_does_not_know_kubeflow():
    knowing = [
        file for file in (ROOT / "retort").rglob("*.py") if any(n.split(".")[0] == "kfp" for n in imported(file))
    ]
    assert knowing == []


def test_dvc_is_used_in_one_place():
    users = {
        file.relative_to(ROOT).as_posix()
        for file in (ROOT / "retort").rglob("*.py")
        if any(name.split(".")[0] in ("dvc", "dvc_data", "dvc_objects") for name in imported(file))
    }
    assert users == {"retort/run/dvc_adapter.py", "retort/run/dvc_workspace.py"}


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("retort.cli", {"torch", "transformers", "trl", "kfp", "dvc", "sklearn", "datasets", "matplotlib", "openai"}),
        ("retort_components.stages", {"torch", "transformers", "trl", "dvc", "sklearn", "datasets", "matplotlib"}),
    ],
)
def test_heavy_packages_are_not_loaded_on_import(module, heavy):
    code = f"import sys, {module}; print(sorted({heavy!r} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_bodies_of_components_are_short():
    for file in (ROOT / "components").glob("*/component.py"):
        (function,) = [node for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)]
        body = function.body[1:]
        assert body[-1].end_lineno - body[0].lineno < 20
        assert len(function.args.args) <= 12
