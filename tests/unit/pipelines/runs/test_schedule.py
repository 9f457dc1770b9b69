"""Cron expressions and intervals."""

import pytest
from retort_pipelines.runs.schedule import when

from retort.errors import ConfigError


def test_five_fields_get_a_second_and_six_stay():
    assert when("0 3 * * 1", None).cron == "0 0 3 * * 1"
    assert when("30  */15 0-6 1,15 JAN-MAR ?", None).cron == "30 */15 0-6 1,15 JAN-MAR ?"
    assert when("0 3 * * 1", None).words == "cron 0 0 3 * * 1"


def test_intervals():
    assert [when(None, text).interval_s for text in ("90m", "12h", "7d", "2w")] == [5400, 43200, 604800, 1209600]


@pytest.mark.parametrize(
    ("cron", "every", "words"),
    [
        (None, None, "give either"),
        ("* * * * *", "1d", "give either"),
        ("* * *", None, "has 3 fields"),
        ("@weekly", None, "has 1 fields"),
        (None, "0d", "--every 0d"),
        (None, "weekly", "--every weekly"),
    ],
)
def test_what_is_no_moment_is_refused_and_named(cron, every, words):
    with pytest.raises(ConfigError) as refused:
        when(cron, every)
    assert words in str(refused.value)
