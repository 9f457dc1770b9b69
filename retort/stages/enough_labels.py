"""Whether a vote's labels are enough for the stages after it: what would fail hours later is said when it is known."""

from __future__ import annotations

import logging
from collections.abc import Collection

from retort.errors import InputError
from retort.io.tables import PROMPTS, read_table
from retort.rewards.learned.halves import held_out_part
from retort.run.stage import Context

_log = logging.getLogger(__name__)

_FEW = 10
"""Labelled prompts in a half of the held-out ones below which figures of a reward are mostly chance."""
_REMEDY = (
    "Hold more prompts out (prompts.validation), sample more responses (teacher_responses.samples), let them be longer "
    "(max_new_tokens), or loosen votes.min_share"
)


def check_labels(context: Context, labelled: Collection[str]) -> None:
    """Refuse labels that a later stage of this run could not work with, and warn where they are few.

    Args:
        context: Of stage `votes`.
        labelled: Ids of the prompts with a label.

    Raises:
        InputError: a reward is learned, and none of the held-out prompts that choose its step, or of those that its
            gate is measured on, has a label.
    """
    if not (learned := context.config.learned_rewards()):
        return
    held_out = [row["prompt_id"] for row in read_table(context.paths.prompts("validation"), PROMPTS)]
    for half, purpose in (("select", "choose the step by"), ("gate", "measure the gate on")):
        every = [one for one in held_out if held_out_part(one) == half]
        found = sum(one in labelled for one in every)
        if not found:
            raise InputError(
                f"of the {len(every)} held-out prompts to {purpose}, none has a label, so rewards.{learned[0]} could "
                "not be trained: it would fail after the stages before it",
                file=context.paths.votes,
                field="label",
                remedy=_REMEDY,
            )
        if found < _FEW:
            _log.warning(
                "only %d of the %d held-out prompts to %s have a label: the figures of rewards.%s will be chance, and "
                "its gate may stop what is trained against it. %s",
                found,
                len(every),
                purpose,
                learned[0],
                _REMEDY,
            )
