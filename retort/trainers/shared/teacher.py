"""The teacher's responses to the training prompts, with what the vote makes of each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from retort.io.tables import PROMPTS, RESPONSES, VOTES, read_table, read_tables
from retort.plugins import Training
from retort.trainers.sft.examples import Told, told_responses


def told(training: Training) -> Iterator[tuple[dict[str, Any], list[Told]]]:
    """Each training prompt with the teacher's whole responses to it, for a method that reads responses and votes."""
    assert training.votes is not None, "the method says that it reads them"
    return told_responses(
        read_table(training.prompts["train"], PROMPTS),
        read_tables(list(training.teacher_responses), RESPONSES),
        read_table(training.votes, VOTES),
        training.answer,
        judged=training.judged() if training.judged is not None else None,
    )
