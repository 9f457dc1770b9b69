"""Every component by the name of its stage."""

from components.collect.component import collect
from components.evaluate.component import evaluate
from components.models.component import models
from components.ppo.component import ppo
from components.prompts.component import prompts
from components.record.component import record
from components.refresh.component import refresh
from components.report.component import report
from components.reward.component import reward
from components.reward_data.component import reward_data
from components.sft.component import sft
from components.sft_equal_compute.component import sft_equal_compute
from components.student_responses.component import student_responses
from components.summary.component import summary
from components.teacher_responses.component import teacher_responses
from components.votes.component import votes

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
