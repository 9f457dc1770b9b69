"""Finding prompts that benchmarks ask: overlap in word n-grams with the items of benchmark files."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from retort.data.deduplicate import words_of
from retort.data.records import read_records
from retort.errors import InputError

QUESTION_FIELDS = ("question", "prompt", "problem", "instruction", "input", "query", "seed_question")
"""Fields of a benchmark's rows that are questions; each that a row has counts as an item."""


@dataclass(frozen=True)
class Overlap:
    """The benchmark item that a prompt overlaps most."""

    file: str
    row: int
    field: str
    share: float
    """Share of the n-grams of the shorter of the two that the other one holds; 1 for equal texts."""


class BenchmarkIndex:
    """The n-grams of all items of some benchmark files.

    Args:
        files: Benchmark files, as the configuration names them.
        root: Where relative paths start.
        ngram: Words in an n-gram.

    Raises:
        InputError: a file is missing, malformed, or has no field that holds questions.
    """

    def __init__(self, files: Sequence[str], root: Path, ngram: int):
        self._ngram = ngram
        self._items: list[tuple[str, int, str, int]] = []
        self._whole: dict[str, int] = {}
        self._holders: dict[int, list[int]] = defaultdict(list)
        for file in files:
            for row, field, question in _questions(file, root):
                self._add(file, row, field, question)

    def _add(self, file: str, row: int, field: str, question: str) -> None:
        words = words_of(question)
        key = " ".join(words)
        if not words or key in self._whole:
            return
        number = len(self._items)
        self._whole[key] = number
        grams = _grams(words, self._ngram)
        self._items.append((file, row, field, len(grams)))
        for gram in grams:
            self._holders[gram].append(number)

    def closest(self, prompt: str) -> Overlap | None:
        """The item that overlaps `prompt` most, or None where no n-gram is shared.

        A prompt that wraps an item in other words, and one that is part of an item, both overlap it wholly. Texts
        shorter than an n-gram overlap only when they are equal.
        """
        words = words_of(prompt)
        equal = self._whole.get(" ".join(words))
        if equal is not None:
            return self._overlap(equal, 1.0)
        grams = _grams(words, self._ngram)
        shared = Counter(number for gram in grams for number in self._holders.get(gram, ()))
        if not shared:
            return None
        share, number = max((count / min(len(grams), self._items[item][3]), -item) for item, count in shared.items())
        return self._overlap(-number, share)

    def _overlap(self, number: int, share: float) -> Overlap:
        file, row, field, _ = self._items[number]
        return Overlap(file, row, field, share)


def _grams(words: list[str], size: int) -> set[int]:
    return {hash(tuple(words[start : start + size])) for start in range(len(words) - size + 1)}


def _questions(file: str, root: Path) -> Iterator[tuple[int, str, str]]:
    found = False
    fields: list[str] = []
    for row, record in read_records(root / file):
        fields = sorted(record)
        for field in QUESTION_FIELDS:
            if isinstance(record.get(field), str):
                found = True
                yield row, field, record[field]
    if not found:
        problem = (
            f"no row has a question: one of {', '.join(QUESTION_FIELDS)} as a string (fields: {', '.join(fields)})"
        )
        raise InputError(problem, file=file, remedy="Rename the field that holds the questions")
