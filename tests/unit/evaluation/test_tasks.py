"""Finding tasks of the harness by name."""

from __future__ import annotations

import pytest

from retort.errors import ConfigError
from retort.evaluation.tasks import _families, check_task

pytestmark = pytest.mark.timeout(600)
"""An unknown name is looked for in all of the harness's 14,000 files."""


@pytest.mark.parametrize("name", ["gsm8k", "gsm8k_cot", "gsm_plus", "gsm_plus_mini", "mmlu_pro", "mmlu_pro_math"])
def test_the_benchmarks_are_found_in_their_own_families(name):
    check_task(name)
    assert set(_families(name)) <= {"gsm8k", "gsm_plus", "mmlu_pro"}


def test_retort_s_own_task_is_known():
    check_task("gsm_plus_cot")


def test_an_unknown_name_is_answered_with_the_nearest_ones():
    with pytest.raises(ConfigError, match=r"has no task 'gsm8k_cott'\. Did you mean gsm8k_cot or") as caught:
        check_task("gsm8k_cott")
    assert caught.value.exit_code == 64
