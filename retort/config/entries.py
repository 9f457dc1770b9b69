"""What entries of `models`, `students` and `rewards` may say of each other; every error names the key that is wrong."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from retort.config.base import unknown
from retort.config.models import NAME

STAGES = (
    "prompts",
    "models",
    "teacher_responses",
    "ballots",
    "votes",
    "student_responses",
    "reward_examples",
    "reward_data",
    "reward",
    "evaluate",
    "report",
)
"""Stages that every run has or may have; no method may be called like one."""


def check_names(models: Collection[str], students: Collection[str], rewards: Collection[str]) -> None:
    """Names can be file names, and no two entries write one path.

    Raises:
        ValueError: naming the entry.
    """
    seen: dict[str, str] = {}
    for section, names in (("models", models), ("students", students), ("rewards", rewards)):
        for name in names:
            if not re.fullmatch(NAME, name):
                raise ValueError(f"{section}.{name}: a name is lower-case letters, digits and _, and starts with one")
            if "_minus_" in name:
                raise ValueError(f"{section}.{name}: comparisons are called A_minus_B, so no name may hold _minus_")
            if name in seen:
                raise ValueError(f"{section}.{name}: {seen[name]}.{name} would write the same paths; rename one")
            seen[name] = section


def check_once(place: str, names: Iterable[str]) -> None:
    """No name comes twice.

    Raises:
        ValueError: naming it.
    """
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{place}: two are called {name!r} and would write one path; rename one")
        seen.add(name)


def check_known(place: str, name: str, known: Iterable[str], what: str) -> None:
    """`name` is one of `known`.

    Raises:
        ValueError: with the nearest known name.
    """
    known = list(known)
    if name not in known:
        raise ValueError(f"{place}: {unknown(f'{what} {name!r}', name, known)}")


def check_overrides(place: str, given: Collection[str], known: Collection[str], own: Collection[str]) -> None:
    """Settings of an entry are settings of its method or type.

    Raises:
        ValueError: with the nearest known key.
    """
    for key in given:
        if key not in known:
            raise ValueError(f"{place}: {unknown(f'key {key!r}', key, sorted({*known, *own}))}")


def check_acyclic(needs: Mapping[str, Mapping[str, str]]) -> None:
    """Nothing is made from itself, directly or in a circle.

    Args:
        needs: For each entry (`students.ppo`), the entries that must be made before it, each with the key that says so.

    Raises:
        ValueError: naming the keys of the circle.
    """
    done: set[str] = set()

    def visit(entry: str, path: tuple[tuple[str, str], ...]) -> None:
        if entry in (seen := [one for one, _ in path]):
            circle = path[seen.index(entry) :]
            if len(circle) == 1:
                raise ValueError(f"{circle[0][1]}: {entry} cannot be made from itself")
            chain = "; ".join(
                f"{key} names {after}" for (_, key), after in zip(circle, [*seen[1:], entry], strict=False)
            )
            raise ValueError(
                f"{circle[0][1]}: {entry} would have to be made before itself ({chain}). A later round is an entry of "
                "its own: a student that starts from a student, against a reward that reads its responses"
            )
        if entry in done:
            return
        for need, key in needs.get(entry, {}).items():
            visit(need, (*path, (entry, key)))
        done.add(entry)

    for entry in needs:
        visit(entry, ())


def needs_of(
    students: Mapping[str, Any],
    rewards: Mapping[str, Any],
    rewarded: Mapping[str, str | None],
    loaded: Mapping[str, Iterable[str]],
) -> dict[str, dict[str, str]]:
    """What must be made before each student and reward, with the key that says so.

    Args:
        students: Entries of `students`.
        rewards: Models and students by key (`trunk`, `likelihood`, `responses`) that each reward reads.
        rewarded: Reward of each student.
        loaded: Models and students whose weights each student's method loads beside its start.
    """
    found: dict[str, dict[str, str]] = {}
    for name, entry in students.items():
        needs = found.setdefault(f"students.{name}", {})
        if entry.from_ in students:
            needs[f"students.{entry.from_}"] = f"students.{name}.from"
        if entry.compute_of is not None:
            needs[f"students.{entry.compute_of}"] = f"students.{name}.compute_of"
        if (reward := rewarded[name]) is not None:
            needs[f"rewards.{reward}"] = f"students.{name}.reward"
        needs |= {f"students.{other}": f"students.{name}" for other in loaded[name] if other in students}
    for name, read in rewards.items():
        needs = found.setdefault(f"rewards.{name}", {})
        for key, others in read.items():
            needs |= {f"students.{other}": f"rewards.{name}.{key}" for other in others if other in students}
    return found
