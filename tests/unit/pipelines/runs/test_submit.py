"""What `submit` refuses by itself."""

import pytest
from retort_pipelines.runs.submit import LONGEST_ARGUMENTS, check_name, check_size

from retort.errors import ConfigError


def test_arguments_that_fit_one_command_line_are_taken():
    check_size({"votes_settings": "x" * 20, "prompts_settings": "x" * (LONGEST_ARGUMENTS - 100)})


def test_arguments_that_no_pod_could_be_started_with_are_refused_by_name():
    # Quotes are escaped where Kubeflow puts settings, so each counts twice.
    with pytest.raises(ConfigError, match="prompts_settings alone 60,000; Kubeflow puts them on one command line"):
        check_size({"votes_settings": "x" * 2000, "prompts_settings": '"' * 60_000})


@pytest.mark.parametrize(
    ("name", "words"), [("x" * 64, "has 64 characters"), ("Big_Run", "lower-case"), ("-a", "dashes")]
)
def test_names_that_kubernetes_would_refuse(name, words):
    with pytest.raises(ConfigError, match=words):
        check_name(name)
