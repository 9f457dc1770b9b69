"""Component folders: what is generated is in step, and what is declared is so."""

from pathlib import Path

import yaml
from retort_components.generate import FOLDER, readme
from retort_components.stages import folders

from retort.run.known_stages import known_stages


def test_every_stage_has_a_component_beside_those_that_only_keep_the_books():
    assert set(folders()) == {*known_stages(), "plugin", "collect", "parameters", "record", "refresh", "summary"}
    assert {file.parent.name for file in FOLDER.glob("*/component.py")} == set(folders())


def test_readmes_follow_the_docstrings():
    for name, component in folders().items():
        assert (FOLDER / name / "README.md").read_text() == readme(component), name


def test_metadata_names_the_component():
    for name in folders():
        assert yaml.safe_load((FOLDER / name / "metadata.yaml").read_text())["name"] == name


def test_every_component_has_a_test():
    for name in folders():
        assert Path(FOLDER / name / f"tests/test_{name}_component.py").exists()
