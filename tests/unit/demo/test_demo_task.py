"""The demonstration's problems and solutions: always right, in varied orders."""

from __future__ import annotations

import random
import re

from retort.demo.task import draw_problem, write_solution
from retort.text.extract import read_answer

SIGNS = {"buys": 1, "finds": 1, "wins": 1, "loses": -1, "sells": -1, "gives": -1}


def problems(count=300, seed=0):
    rng = random.Random(seed)
    return [draw_problem(rng) for _ in range(count)], rng


def test_the_text_says_the_terms_and_nobody_owns_less_than_nothing():
    for problem in problems()[0]:
        told = [int(re.search(r"has (\d+)", problem.prompt)[1])]
        told += [SIGNS[verb] * int(n) for verb, n in re.findall(r"(\w+)(?: away)? (\d+)\.", problem.prompt)]
        assert tuple(told) == problem.terms
        assert all(sum(problem.terms[: n + 1]) >= 0 for n in range(len(problem.terms)))
        assert problem.answer == sum(told)


def test_every_line_of_every_solution_is_right_and_the_answer_is_read_from_it():
    made, rng = problems()
    for problem in made:
        solution = write_solution(problem, rng)
        *lines, last = solution.splitlines()
        for line in lines:
            left, right = line.split("=")
            assert sum(int(term) for term in re.findall(r"[+-]?\d+", left)) == int(right), solution
        assert last == f"#### {problem.answer}"
        assert read_answer(solution, "number").value == str(problem.answer)


def test_solutions_start_from_every_term_and_use_each_once():
    made, rng = problems(20)
    for problem in made:
        written = {write_solution(problem, rng) for _ in range(200)}
        assert len(written) > 3
        assert {int(re.match(r"-?\d+", solution)[0]) for solution in written} == set(problem.terms)
        for solution in written:
            first, *rest = (line.split("=")[0] for line in solution.splitlines()[:-1])
            added = [int(term) for term in re.findall(r"[+-]?\d+", first)]
            for line in rest:
                # The first number of a later line is the sum so far.
                added += [int(term) for term in re.findall(r"[+-]?\d+", line)][1:]
            assert sorted(added) == sorted(problem.terms), solution


def test_a_seed_gives_the_same_problems():
    assert problems(5)[0] == problems(5)[0]
    assert problems(5)[0] != problems(5, seed=1)[0]
