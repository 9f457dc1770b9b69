"""The checkout as a whole: file lengths, links between documents, generated pages, what must not be named."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = ("retort", "components", "pipelines", "bench", "tests", "docs")
LONGEST = 600
LINK = re.compile(r"(?<!\!)\[[^\]]*\]\(([^)\s]+)\)")


def files(*endings: str) -> list[Path]:
    """Files that git tracks or would track, with one of these endings."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:  # a source archive without git
        names = [path.relative_to(ROOT).as_posix() for folder in CODE for path in (ROOT / folder).rglob("*")]
        names += [path.name for path in ROOT.glob("*.md")]
    else:
        names = listed.stdout.splitlines()
    return [ROOT / name for name in sorted(names) if name.endswith(endings) and (ROOT / name).is_file()]


def anchors(markdown: str) -> set[str]:
    """Names that headings of a document can be linked by, as GitHub makes them."""
    heads = re.findall(r"^#+ (.+)$", markdown, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


def test_no_python_file_is_longer_than_a_reader_can_hold() -> None:
    lengths = {file.relative_to(ROOT): len(file.read_text().splitlines()) for file in files(".py")}
    assert {file: lines for file, lines in lengths.items() if lines > LONGEST} == {}


def test_every_module_says_what_it_is() -> None:
    silent = [
        str(file.relative_to(ROOT))
        for file in files(".py")
        if file.name != "__init__.py"
        and not file.name.startswith("test_")
        and file.relative_to(ROOT).parts[0] in CODE
        and not re.match(r'(#!.*\n)?r?"""', file.read_text())
    ]
    assert silent == []


@pytest.mark.parametrize("file", files(".md"), ids=lambda file: file.relative_to(ROOT).as_posix())
def test_links_in_markdown_resolve(file: Path) -> None:
    text = re.sub(r"```.*?```", "", file.read_text(), flags=re.DOTALL)
    for target in LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        place = (file.parent / path).resolve() if path else file
        assert place.exists(), f"{target} does not exist"
        if anchor and place.suffix == ".md":
            assert anchor in anchors(place.read_text()), f"{target}: no such heading"


def test_every_document_can_be_reached_from_the_readme() -> None:
    seen, todo = set(), [ROOT / "README.md"]
    while todo:
        file = todo.pop()
        if file in seen or not file.exists():
            continue
        seen.add(file)
        links = LINK.findall(file.read_text())
        todo += [
            (file.parent / link.partition("#")[0]).resolve()
            for link in links
            if ":" not in link and link.partition("#")[0].endswith(".md")
        ]
    assert {file for file in files(".md") if file.is_relative_to(ROOT / "docs")} <= seen


def test_generated_pages_are_in_sync_with_the_code() -> None:
    found = subprocess.run(
        [sys.executable, "-m", "docs.generate", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr


def test_first_screen_of_the_readme_holds_the_result_and_the_commands() -> None:
    screen = (ROOT / "README.md").read_text().splitlines()[:20]
    assert any("claim:begin" in line for line in screen)
    assert any("claim:end" in line for line in screen)
    assert [line.split("#")[0].strip() for line in screen if line.startswith("make ")] == ["make demo", "make test"]


def test_the_claim_of_the_readme_is_that_of_its_page() -> None:
    commits = {
        re.search(r"claim:begin.*?commit (\w+)", (ROOT / name).read_text(), re.DOTALL)[1]
        for name in ("README.md", "docs/claim.md")
    }
    assert len(commits) == 1


def test_makefile_targets_are_described() -> None:
    text = (ROOT / "Makefile").read_text()
    targets = set(re.search(r"^\.PHONY: (.+)$", text, re.MULTILINE)[1].split())
    assert targets == set(re.findall(r"^([\w-]+):.*## ", text, re.MULTILINE))
    assert len(targets) <= 15


def test_nothing_names_a_place_of_one_machine() -> None:
    # The word is put together here, or this file would name it too.
    place = re.compile(r"(?<![\w.])/" + r"work/(main|shared)\b")
    named = [
        file for file in files(".py", ".md", ".yaml", ".toml", ".txt", "Makefile") if place.search(file.read_text())
    ]
    assert [str(file.relative_to(ROOT)) for file in named] == []
