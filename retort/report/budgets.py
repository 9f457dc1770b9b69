"""Which model to take at which budget: each one that is better than everything cheaper, by paired intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from retort.report.across import Pair, Side, Standing
from retort.report.formats import NO_INTERVAL, count, flops, joined, percent, points

Cost = Callable[[Standing], float]
Place = tuple[str, str]
"""Arm and model."""


@dataclass(frozen=True)
class Step:
    """From a cost on, what to take."""

    standing: Standing
    over: Pair | None
    """Its difference to what was to take before; None for the cheapest."""


def steps(standings: Sequence[Standing], cost: Cost, pair: Callable[[Place, Place], Pair | None]) -> list[Step]:
    """What to take as the budget grows, beginning with the best of the cheapest.

    A dearer model counts only where its paired difference to the one before has an interval above zero, so that noise
    sells nothing.

    Args:
        standings: Models that could be taken.
        cost: What making one took.
        pair: The first model's results less the second's.
    """
    found: list[Step] = []
    for one in sorted(standings, key=lambda one: (cost(one), -one.accuracy)):  # of equal cost the best comes first
        if not found:
            found.append(Step(one, None))
            continue
        over = pair((one.arm, one.model), (found[-1].standing.arm, found[-1].standing.model))
        if over is None or not over.clear:
            continue
        found.append(Step(one, over))
    return found


def advice(
    side: Side, pair: Callable[[Place, Place], Pair | None], students: set[Place], *, several: bool
) -> list[str]:
    """Sentences that say which model to take at which budget of compute and of teacher tokens.

    Args:
        side: What is compared.
        pair: Compares any two on its benchmark.
        students: What a run may hand over: its students and what they start from, not the teacher.
        several: Whether names need their arm.
    """
    taken = [one for one in side.standings if (one.arm, one.model) in students]
    sentences = []
    axes: list[tuple[str, Cost, Callable[[float], str]]] = [
        (
            "compute",
            lambda one: one.spent.flops if one.spent else 0.0,
            lambda value: f"{flops(value) if value else 0} FLOPs",
        ),
        (
            "teacher's answers",
            lambda one: one.spent.teacher_tokens if one.spent else 0.0,
            lambda value: f"{count(round(value))} tokens",
        ),
    ]
    for name, cost, words in axes:
        found = steps(taken, cost, pair)
        if len(found) < 2 and len(taken) < 2:
            continue
        parts = [_step(step, words(cost(step.standing)), several=several) for step in found]
        chosen = {(step.standing.arm, step.standing.model) for step in found}
        rest = [named(one, several=several) for one in taken if (one.arm, one.model) not in chosen]
        sentence = f"By {name}: {', then '.join(parts)}."
        if rest:
            sentence += f" Not clearly better than what costs no more: {joined(rest)}."
        sentences.append(sentence)
    return sentences


def named(one: Standing, *, several: bool) -> str:
    """A model in words, with its run where there are several."""
    return f"{one.arm}/{one.model}" if several else one.label


def _step(step: Step, cost: str, *, several: bool) -> str:
    text = f"{named(step.standing, several=several)} ({percent(step.standing.accuracy)}) from {cost}"
    if step.over is None:
        return text
    ends = f"{points(step.over.low)}, {points(step.over.high)}" if step.over.low < step.over.high else NO_INTERVAL
    return f"{text}, {points(step.over.difference)} points [{ends}] above the one before"
