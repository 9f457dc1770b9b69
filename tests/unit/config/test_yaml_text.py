"""YAML with a key that is given twice."""

import pytest

from retort.config import load_config
from retort.config.yaml_text import DuplicateKeyError, read_yaml_text
from retort.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "line", "first"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, 1),
        ("sft:\n  steps: 4\n  steps: 5\n", 3, 2),
        ("sft: {steps: 4}\nppo: {}\nsft: {steps: 9}\n", 3, 1),
        ("- {a: 1,\n   a: 2}\n", 2, 1),
    ],
)
def test_a_key_that_is_given_twice_is_refused_with_both_lines(text, line, first):
    with pytest.raises(DuplicateKeyError, match=f"line {line} gives .* again, which line {first} gave"):
        read_yaml_text(text)


def test_anchors_may_be_overridden():
    assert read_yaml_text("a: &x {k: 1, m: 2}\nb:\n  <<: *x\n  k: 3\n") == {
        "a": {"k": 1, "m": 2},
        "b": {"k": 3, "m": 2},
    }


def test_a_configuration_with_a_section_twice_is_refused(tmp_path):
    (tmp_path / "c.yaml").write_text("sft: {steps: 4, batch_size: 8}\nsft: {steps: 9}\n")
    with pytest.raises(ConfigError, match=r"c\.yaml.*line 2 gives 'sft' again"):
        load_config(tmp_path / "c.yaml")
