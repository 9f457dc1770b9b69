"""The demonstration's task: word problems whose working may go in any order and skip steps.

A problem states a starting amount and two changes. A solution adds the three up in a random order, and either adds
one number a line or both at once. So two samples for one problem take different paths and make different slips, which
gives a majority vote something to correct; and a student copies its teacher's habit of adding two numbers at once,
which it is worse at than its teacher, until a reward for what *it* gets right teaches it otherwise. Nothing outside
`retort.demo` knows this task: the pipeline sees prompts and responses as text.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

_NAMES = ("Ada", "Ben", "Cleo", "Dan", "Eve", "Finn", "Gus", "Hana")
_THINGS = ("cards", "coins", "shells", "stamps", "beads", "pens")
_GAINS = ("buys", "finds", "wins")
_LOSSES = ("loses", "sells", "gives away")

_SKIP = 0.5
"""Share of solutions that add two numbers at once."""


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
    """Draw a problem of three two-digit amounts in which nobody ever owns less than nothing."""
    name, thing = rng.choice(_NAMES), rng.choice(_THINGS)
    terms = [rng.randint(10, 99)]
    sentences = [f"{name} has {terms[0]} {thing}."]
    for _ in range(2):
        amount = rng.randint(10, 99)
        if rng.random() < 0.5 and sum(terms) >= amount:
            terms.append(-amount)
            sentences.append(f"{name} {rng.choice(_LOSSES)} {amount}.")
        else:
            terms.append(amount)
            sentences.append(f"{name} {rng.choice(_GAINS)} {amount}.")
    return Problem(" ".join([*sentences, f"How many {thing} now?"]), tuple(terms))


def write_solution(problem: Problem, rng: random.Random) -> str:
    """Write a correct solution that adds the terms up in a random order, ending in `#### ANSWER`."""
    first, second, third = rng.sample(problem.terms, len(problem.terms))
    total = first + second + third
    if rng.random() < _SKIP:
        return f"{first}{second:+d}{third:+d}={total}\n#### {total}"
    return f"{first}{second:+d}={first + second}\n{first + second}{third:+d}={total}\n#### {total}"
