"""The demonstration's task: word problems that may be worked in any order.

A problem states a starting amount and three changes; a solution adds the four up in a random order, one number a line.
Two samples for one problem take different paths and make different slips, which gives a majority vote something to
correct. Nothing outside `retort.demo` knows this task: the pipeline sees prompts and responses as text.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

_NAMES = ("Ada", "Ben", "Cleo", "Dan", "Eve", "Finn", "Gus", "Hana")
_THINGS = ("cards", "coins", "shells", "stamps", "beads", "pens")
_GAINS = ("buys", "finds", "wins")
_LOSSES = ("loses", "sells", "gives away")


@dataclass(frozen=True)
class Problem:
    """One word problem: its text and the signed amounts that it adds up."""

    prompt: str
    terms: tuple[int, ...]

    @property
    def answer(self) -> int:
        """The right answer."""
        return sum(self.terms)


def draw_problem(rng: random.Random) -> Problem:
    """Draw a problem of four amounts in which nobody ever owns less than nothing."""
    name, thing = rng.choice(_NAMES), rng.choice(_THINGS)
    terms = [rng.randint(2, 59)]
    sentences = [f"{name} has {terms[0]} {thing}."]
    for _ in range(3):
        amount = rng.randint(2, 59)
        if rng.random() < 0.5 and sum(terms) >= amount:
            terms.append(-amount)
            sentences.append(f"{name} {rng.choice(_LOSSES)} {amount}.")
        else:
            terms.append(amount)
            sentences.append(f"{name} {rng.choice(_GAINS)} {amount}.")
    return Problem(" ".join([*sentences, f"How many {thing} now?"]), tuple(terms))


def write_solution(problem: Problem, rng: random.Random) -> str:
    """Write a correct solution that adds the terms up in a random order, ending in `#### ANSWER`."""
    total, *rest = rng.sample(problem.terms, len(problem.terms))
    lines = []
    for term in rest:
        lines.append(f"{total}{term:+d}={total + term}")
        total += term
    return "\n".join([*lines, f"#### {total}"])
