"""Finding prompts that benchmarks ask: overlap in word n-grams with the items of benchmark files.

Numbers count as one word by default: a benchmark's question with other numbers is still its question. Of GSM-Plus'
2,400 variants of GSM8K's test questions 1,394 are found so at the default settings, 894 where numbers must agree; of
the 7,473 training questions of GSM8K, 3 are held for test questions, and 2. Rephrased questions share no n-grams and
are not found.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from retort.data.deduplicate import words_of
from retort.errors import InputError
from retort.io.rows import read_records

_NUMBER = "0"
_DIGIT = re.compile(r"\d")

QUESTION_FIELDS = ("question", "prompt", "problem", "instruction", "input", "query", "seed_question")
"""Fields of a benchmark's rows that are questions; each that a row has counts as an item."""


@dataclass(frozen=True)
class Overlap:
    """The benchmark item that a prompt overlaps most."""

    file: str
    row: int
    field: str
    share: float
    """Share of the n-grams of the shorter of the two that the other one holds; 1 for texts that are equal, but for
    their numbers where those are masked."""


class BenchmarkIndex:
    """The n-grams of all items of some benchmark files.

    Args:
        files: Benchmark files, as the configuration names them.
        root: Where relative paths start.
        ngram: Words in an n-gram.
        mask_numbers: Whether any number counts as any other.

    Raises:
        InputError: a file is missing, malformed, or has no field that holds questions.
    """

    def __init__(self, files: Sequence[str], root: Path, ngram: int, *, mask_numbers: bool = True):
        self._ngram, self._mask_numbers = ngram, mask_numbers
        self._items: list[tuple[int, int, str, int]] = []
        self._whole: dict[str, list[int]] = defaultdict(list)
        self._holders: dict[int, list[int]] = defaultdict(list)
        self.files = list(files)
        for place, file in enumerate(files):
            seen: set[str] = set()
            for row, field, question in _questions(file, root):
                words = self._words(question)
                key = " ".join(words)
                if words and key not in seen:
                    seen.add(key)
                    self._add(place, row, field, words, key)

    def _words(self, text: str) -> list[str]:
        words = words_of(text)
        return [_NUMBER if _DIGIT.search(word) else word for word in words] if self._mask_numbers else words

    def _add(self, place: int, row: int, field: str, words: list[str], key: str) -> None:
        number = len(self._items)
        grams = _grams(words, self._ngram)
        self._items.append((place, row, field, len(grams)))
        self._whole[key].append(number)
        for gram in grams:
            self._holders[gram].append(number)

    def overlaps(self, prompt: str) -> list[Overlap]:
        """The item of each file that overlaps `prompt` most, the greatest overlap first; only files with any.

        A prompt that wraps an item in other words, and one that is part of an item, both overlap it wholly. Texts
        shorter than an n-gram overlap only when they are equal.
        """
        words = self._words(prompt)
        shares = dict.fromkeys(self._whole.get(" ".join(words), ()), 1.0)
        grams = _grams(words, self._ngram)
        shared = Counter(number for gram in grams for number in self._holders.get(gram, ()))
        for number, count in shared.items():
            shares.setdefault(number, count / min(len(grams), self._items[number][3]))
        best: dict[int, Overlap] = {}
        for number in sorted(shares, key=lambda number: (-shares[number], number)):
            place, row, field, _ = self._items[number]
            best.setdefault(place, Overlap(self.files[place], row, field, shares[number]))
        return list(best.values())


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
