"""What a benchmark with a rule of its own is registered as."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Item:
    """One question."""

    item_id: str
    """Unique within the benchmark."""
    question: str
    """What the model is asked."""
    answer: str
    """Gold answer, as the rule needs it."""
    group: str | None = None
    """Items that share a source, for intervals."""


@dataclass(frozen=True)
class Verdict:
    """What the rule makes of one response."""

    score: float
    """Between 0, wrong, and 1, right."""
    read: str | None
    """The answer as read; None where none could be."""


@dataclass(frozen=True)
class BenchmarkType:
    """A benchmark with its own rule: one file, one registration in group `retort.benchmarks`."""

    name: str
    """As `task` in `evaluate.benchmarks`."""
    items: Callable[[dict[str, Path]], Sequence[Item]]
    """Its questions, from the files of `data` by split."""
    score: Callable[[Item, str], Verdict]
    """The rule: what a response is worth."""
