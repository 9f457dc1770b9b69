"""Rooms import downwards only and in no circle, and what is heavy is loaded late."""

import ast
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {"retort": "retort", "components": "retort_components", "pipelines": "retort_pipelines"}
"""Folder and import name, from the ground up."""
FLOORS = (
    ("retort", "retort.errors"),
    ("retort.plugins", "retort.io"),
    ("retort.config",),
    ("retort.tracking",),
    ("retort.modeling", "retort.text"),
    ("retort.data",),
    ("retort.votes", "retort.demo"),
    ("retort.benchmarks", "retort.engines"),
    ("retort.judge",),
    ("retort.rewards", "retort.trainers", "retort.evaluation"),
    ("retort.run",),
    ("retort.plan", "retort.report"),
    ("retort.stages", "retort.handover"),
    ("retort.check",),
    ("retort.pod", "retort.cli", "retort.interface"),
    ("retort.__main__", "retort_components"),
    ("retort_pipelines", "retort_pipelines.profiles"),
    ("retort_pipelines.graph",),
    ("retort_pipelines.checks",),
    ("retort_pipelines.runs",),
    ("retort_pipelines.cli",),
)
"""Every room, from the ground up. A room may import those of the floors below; never one beside it or above."""


def imported(file: Path) -> set[str]:
    """Names of the modules that a file imports, inside functions and under TYPE_CHECKING too.

    `from a import b` is `a.b` where that is a module of this project, else `a`.
    """
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports of this project name the whole package"
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            inside = whole & set(modules())
            names |= inside if inside == whole else inside | {str(node.module)}
    return names


@cache
def modules() -> Mapping[str, Path]:
    """Every module of the three packages, tests apart, by its import name."""
    found = {}
    for folder, package in PACKAGES.items():
        for file in sorted((ROOT / folder).rglob("*.py")):
            parts = file.relative_to(ROOT / folder).with_suffix("").parts
            if "tests" not in parts:
                found[".".join([package, *(part for part in parts if part != "__init__")])] = file
    return found


@cache
def imports() -> Mapping[str, frozenset[str]]:
    """Modules of this project that each module imports."""
    return {
        name: frozenset(one for one in imported(file) & set(modules()) if one != name)
        for name, file in modules().items()
    }


def room(module: str) -> str:
    """The room of a module: its folder, or its own name where it lies loose."""
    parts = module.split(".")
    return parts[0] if parts[0] == "retort_components" else ".".join(parts[:2])


def between_rooms() -> Iterator[tuple[str, str]]:
    """Pairs of module and imported module that lie in two rooms."""
    for module, others in imports().items():
        yield from ((module, other) for other in sorted(others) if room(module) != room(other))


def circle(graph: Mapping[str, Collection[str]]) -> list[str]:
    """A circle of a graph; empty where it has none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_every_room_has_a_floor():
    rooms = [one for floor in FLOORS for one in floor]
    assert len(rooms) == len(set(rooms))
    assert {room(module) for module in modules()} == set(rooms)


def test_rooms_import_downwards_only():
    floor = {one: number for number, floor in enumerate(FLOORS) for one in floor}
    upward = {(module, other) for module, other in between_rooms() if floor[room(other)] >= floor[room(module)]}
    # The package itself is the door of the Python interface: it opens it when it is first asked for.
    upward -= {("retort", "retort.interface"), ("retort", "retort.run")}
    assert upward == set(), "imports a room beside it or above"


def test_no_modules_import_one_another_in_a_circle():
    assert circle(imports()) == []


def test_no_rooms_import_one_another_in_a_circle():
    graph: dict[str, set[str]] = {}
    for module, other in between_rooms():
        graph.setdefault(room(module), set()).add(room(other))
    assert circle(graph) == []


def test_circles_are_found():
    assert circle({"a": ["b"], "b": ["c"], "c": []}) == []
    assert set(circle({"a": ["b"], "b": ["c"], "c": ["a"]})) == {"a", "b", "c"}


def test_the_page_of_the_architecture_lists_the_rooms_in_this_order():
    page = (ROOT / "docs/concepts/architecture.md").read_text()
    table = page.partition("<!-- floors:begin -->")[2].partition("<!-- floors:end -->")[0]
    shown = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    folders = {package: folder for folder, package in PACKAGES.items()}

    def place(one: str) -> str:
        package, _, rest = one.partition(".")
        folder = ROOT / folders[package] / rest
        if not rest and one != "retort_components":  # a package's own __init__.py: its rooms are listed apart
            folder /= "__init__.py"
        return f"`{(folder if folder.exists() else folder.with_suffix('.py')).relative_to(ROOT).as_posix()}`"

    assert [cell.strip() for cell in shown] == [", ".join(map(place, floor)) for floor in FLOORS]


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
    assert users == {"retort/run/dvc_adapter.py", "retort/run/dvc_files.py", "retort/run/dvc_workspace.py"}


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        (
            "retort.cli.app",
            {"torch", "transformers", "trl", "kfp", "dvc", "sklearn", "datasets", "matplotlib", "openai"},
        ),
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
