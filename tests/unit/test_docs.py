"""Documentation that can be checked: examples of configurations, command lines, and names of code."""

from __future__ import annotations

import ast
import itertools
import re
import shlex
from pathlib import Path

import pytest

from retort.config import load_config
from retort.run.known_stages import known_stages
from tests.guide import write_python_files

ROOT = Path(__file__).parents[2]
DOCS = [
    *sorted((ROOT / "docs").rglob("*.md")),
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "DEVELOPERS.md")),
]
BASE = """\
models: {teacher: {source: teacher}, base: {source: base}}
prompts: {sources: [{path: prompts.jsonl}]}
"""
"""What an example that shows a part of a configuration is laid over."""


def blocks(kind: str) -> list[tuple[str, str]]:
    """Code blocks of one language, with where they are."""
    found = []
    for file in DOCS:
        for number, block in enumerate(
            re.findall(rf"^```{kind}\n(.*?)^```", file.read_text(), re.MULTILINE | re.DOTALL)
        ):
            found.append((f"{file.relative_to(ROOT)}[{number}]", block))
    return found


def options() -> dict[str, set[str]]:
    """Options of each verb, from the generated reference."""
    text = (ROOT / "docs/reference/cli.md").read_text()
    parts = re.split(r"^## retort (\w+)$", text, flags=re.MULTILINE)[1:]
    return {verb: set(re.findall(r"`(--[\w-]+)", body)) for verb, body in zip(parts[::2], parts[1::2], strict=True)}


@pytest.mark.parametrize(("place", "block"), blocks("yaml"), ids=lambda value: value if "[" in value[:60] else "")
def test_configuration_examples_are_valid(
    place: str, block: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "example.yaml").write_text(block)
    write_python_files("extending.md", tmp_path)
    load_config(tmp_path / "base.yaml", tmp_path / "example.yaml", root=tmp_path)
    assert [record.message for record in caplog.records] == [], f"{place} shows a key of an earlier version"


def test_commands_in_documents_exist_with_their_options() -> None:
    known = options()
    assert {"run", "show", "vote"} <= set(known)
    for place, block in blocks("bash"):
        for verb, rest in re.findall(r"^(?:\.venv/bin/)?retort (\w+)([^#\n]*)", block, re.MULTILINE):
            assert verb in known, f"{place}: retort {verb}"
            assert set(re.findall(r"(?<=\s)--[\w-]+", rest)) <= known[verb], f"{place}: retort {verb}{rest}"


def test_stages_in_documents_are_told_which_task() -> None:
    stages = known_stages()
    shown = [
        (place, *command)
        for place, block in blocks("bash")
        for command in re.findall(r"^(?:\.venv/bin/)?retort stage (\w+)([^#\n]*)", block, re.MULTILINE)
    ]
    assert shown
    for place, stage, rest in shown:
        given = set(re.findall(r"(?<=\s)--(\w+)", rest)) - {"workspace", "processes", "json"}
        assert given == set(stages[stage].matrix), f"{place}: retort stage {stage}{rest}"


def test_settings_changed_on_a_command_line_exist(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(BASE)
    words = [word for _, block in blocks("bash") for word in shlex.split(block.replace("\\\n", " "), comments=True)]
    changes = [change for option, change in itertools.pairwise(words) if option == "--set"]
    assert changes
    load_config(tmp_path / "base.yaml", changes=changes)


def test_make_targets_in_documents_exist() -> None:
    targets = set(re.findall(r"^(\w+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    used = {target for _, block in blocks("bash") for target in re.findall(r"^make (\w+)", block, re.MULTILINE)}
    assert used <= targets


@pytest.mark.parametrize("file", DOCS, ids=lambda file: file.name)
def test_files_and_functions_named_in_documents_exist(file: Path) -> None:
    for path, name in re.findall(r"`((?:retort|tests|components|pipelines)/[\w./]+)(?:::(\w+))?`", file.read_text()):
        place = ROOT / path
        assert place.exists(), f"{path} does not exist"
        if name:
            assert re.search(rf"^(def|class) {name}\b", place.read_text(), re.MULTILINE), f"{path} has no {name}"


def environment_variables() -> set[str]:
    """Names that the code reads from the environment or sets there, by itself or through a constant."""
    names = set()
    for folder in ("retort", "components", "pipelines", "bench"):
        for file in (ROOT / folder).rglob("*.py"):
            if "tests" in file.parts:
                continue
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    names |= {node.value} if re.fullmatch(r"(RETORT|AWS|HF|KFP|PET|OMP)_[A-Z_]+", node.value) else set()
                elif isinstance(node, ast.Call | ast.Subscript):
                    place = node.func if isinstance(node, ast.Call) else node.value
                    inside = node.args[:1] if isinstance(node, ast.Call) else [node.slice]
                    if ast.unparse(place) in ("os.environ", "os.environ.get", "environment.setdefault"):
                        names |= {one.value for one in inside if isinstance(one, ast.Constant)}
    return names


def test_the_page_of_environment_variables_has_all_that_the_code_knows_and_no_others() -> None:
    page = (ROOT / "docs/concepts/environment.md").read_text()
    cells = re.findall(r"^\| ([^|]+) \|", page, re.MULTILINE)
    listed = {name for cell in cells for name in re.findall(r"\b[A-Z][A-Z_]{3,}\b", cell)}
    known = environment_variables()
    assert known - listed == set()
    assert {name for name in listed if name.startswith("RETORT_")} - known == set()
