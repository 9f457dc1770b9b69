"""The files and configurations that a guide shows, as its readers would save them."""

from __future__ import annotations

import re
from pathlib import Path

GUIDES = Path(__file__).parents[1] / "docs/guides"


def code_blocks(guide: str, kind: str) -> list[str]:
    """Code blocks of one language in a guide."""
    return re.findall(rf"^```{kind}\n(.*?)^```", (GUIDES / guide).read_text(), re.MULTILINE | re.DOTALL)


def write_python_files(guide: str, folder: Path) -> list[str]:
    """Write every Python block that begins with its file's name into `folder`; return the names."""
    names = []
    for block in code_blocks(guide, "python"):
        if found := re.match(r"# (\w+\.py)\n", block):
            names.append(found[1])
            (folder / found[1]).write_text(block)
    return names
