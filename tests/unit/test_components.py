"""Component folders: what is generated is in step, and what is declared is so."""

from pathlib import Path

import yaml
from retort_components import stages
from retort_components.generate import FOLDER, readme

from retort.run.graph import STAGES


def test_every_stage_has_a_component_beside_those_that_only_keep_the_books():
    assert set(stages.__all__) == {stage.name for stage in STAGES} | {"collect", "record", "refresh", "summary"}


def test_readmes_follow_the_docstrings():
    for name in stages.__all__:
        assert (FOLDER / name / "README.md").read_text() == readme(getattr(stages, name)), name


def test_metadata_names_the_component():
    for name in stages.__all__:
        assert yaml.safe_load((FOLDER / name / "metadata.yaml").read_text())["name"] == name


def test_every_component_has_a_test():
    for name in stages.__all__:
        assert Path(FOLDER / name / f"tests/test_{name}_component.py").exists()
