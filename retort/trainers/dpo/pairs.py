"""Pairs for DPO: a response that agrees with the vote and one to the same prompt that does not."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from retort.trainers.sft.examples import Told, taught_text


@dataclass(frozen=True)
class Pair:
    """Two responses to one prompt, as text."""

    prompt_id: str
    prompt: str
    chosen: str
    """Agrees with the vote."""
    rejected: str
    """Does not."""


@dataclass
class Pairs:
    """Pairs, and why prompts have none."""

    pairs: list[Pair] = field(default_factory=list)
    prompts: int = 0
    """Prompts with a pair."""
    all_agree: int = 0
    """Prompts whose responses all agree with the vote: nothing to prefer one for."""
    none_agrees: int = 0
    """Prompts of whose responses none does, those without a label among them."""


def preference_pairs(told: Iterable[tuple[dict[str, Any], list[Told]]], *, most: int, seed: int) -> Pairs:
    """At most `most` pairs of each prompt.

    Both kinds of response are put in an order that the seed decides and are paired one by one, the shorter list from
    the start again: every response takes part before one takes part again. Equal texts count once. What a judge did
    not decide on takes no part.
    """
    found = Pairs()
    for prompt, responses in told:
        chosen, rejected = (_texts(responses, kind) for kind in (True, False))
        if not chosen:
            found.none_agrees += 1
        elif not rejected:
            found.all_agree += 1
        else:
            order = random.Random(f"{seed}:{prompt['prompt_id']}")  # noqa: S311
            for texts in (chosen, rejected):
                order.shuffle(texts)
            count = min(most, max(len(chosen), len(rejected)))
            found.prompts += 1
            found.pairs += [
                Pair(prompt["prompt_id"], prompt["prompt"], chosen[n % len(chosen)], rejected[n % len(rejected)])
                for n in range(count)
            ]
    return found


def _texts(responses: Iterable[Told], agrees: bool) -> list[str]:
    # Without the reasoning of a teacher that gives it apart: what is compared is what the student would say.
    return list(dict.fromkeys(taught_text(one.row, False) for one in responses if one.agrees is agrees))
