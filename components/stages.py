"""Every component by the name of its stage."""

from retort_components.collect.component import collect
from retort_components.evaluate.component import evaluate
from retort_components.models.component import models
from retort_components.ppo.component import ppo
from retort_components.prompts.component import prompts
from retort_components.record.component import record
from retort_components.refresh.component import refresh
from retort_components.report.component import report
from retort_components.reward.component import reward
from retort_components.reward_data.component import reward_data
from retort_components.sft.component import sft
from retort_components.sft_equal_compute.component import sft_equal_compute
from retort_components.student_responses.component import student_responses
from retort_components.summary.component import summary
from retort_components.teacher_responses.component import teacher_responses
from retort_components.votes.component import votes

__all__ = [
    "collect",
    "evaluate",
    "models",
    "ppo",
    "prompts",
    "record",
    "refresh",
    "report",
    "reward",
    "reward_data",
    "sft",
    "sft_equal_compute",
    "student_responses",
    "summary",
    "teacher_responses",
    "votes",
]
