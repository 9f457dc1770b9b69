"""Finding duplicate prompts: exact ones by normalised text, near ones by word 5-grams.

Numbers are content. "Ada has 12 cards, buys 5 ..." and "Ada has 31 cards, buys 8 ..." are two problems, however long
the text that they share; so prompts are near duplicates only if they also hold the same numbers. Comparing only
prompts with equal numbers is also what makes templated sets fast.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
import zlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

_WORD = re.compile(r"\w+(?:[.,]\d+)*")
_SHINGLE = 5
_FEW = 16
_PERMUTATIONS = 128
_MINHASH_SEED = 1


@dataclass(frozen=True)
class Duplicate:
    """A text that repeats an earlier one."""

    index: int
    of: int
    similarity: float
    """Jaccard similarity of their word 5-grams; 1 for exact duplicates."""
    exact: bool


def words_of(text: str) -> list[str]:
    """Words and numbers of a text: case, punctuation and Unicode form do not count."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def find_duplicates(
    texts: Sequence[str], threshold: float, *, progress: Callable[[], None] = lambda: None
) -> list[Duplicate]:
    """Texts that repeat an earlier one of the sequence that is itself kept, in order.

    Candidates for near duplicates come from MinHash with locality-sensitive hashing (Leskovec, Rajaraman and
    Ullman, Mining of Massive Datasets, §3.4) and are verified by their true Jaccard similarity.

    Args:
        texts: The texts, the one to keep before those to drop.
        threshold: Jaccard similarity from which texts are near duplicates; 1 looks for exact ones only.
        progress: Called once a text.
    """
    found: list[Duplicate] = []
    # Digests, not texts: a second copy of a million prompts is not kept.
    first: dict[bytes, int] = {}
    by_numbers: dict[bytes, list[int]] = defaultdict(list)
    for index, text in enumerate(texts):
        key = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
        of = first.setdefault(_digest(key), index)
        if of != index:
            found.append(Duplicate(index, of, 1.0, exact=True))
            progress()
        elif threshold < 1:
            numbers = (word for word in words_of(text) if any(letter.isdigit() for letter in word))
            by_numbers[_digest(" ".join(sorted(numbers)))].append(index)
        else:
            progress()
    for indices in by_numbers.values():
        found.extend(_near_duplicates(texts, indices, threshold, progress))
    return sorted(found, key=lambda duplicate: duplicate.index)


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def shingles(text: str, size: int = _SHINGLE) -> frozenset[str]:
    """Word n-grams of a text; a text with fewer words is one n-gram."""
    words = words_of(text)
    return frozenset(" ".join(words[start : start + size]) for start in range(max(1, len(words) - size + 1)))


def jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    """Size of the intersection over size of the union."""
    return len(a & b) / len(a | b)


def _near_duplicates(
    texts: Sequence[str], indices: list[int], threshold: float, progress: Callable[[], None]
) -> list[Duplicate]:
    if len(indices) == 1:
        progress()
        return []
    candidates = _All() if len(indices) <= _FEW else _Sketches(threshold)
    kept: dict[int, frozenset[str]] = {}
    found: list[Duplicate] = []
    for index in indices:
        grams = shingles(texts[index])
        similar = [(jaccard(grams, kept[other]), -other) for other in candidates.like(grams)]
        closest = max(similar, default=(0.0, 0))
        if closest[0] >= threshold:
            found.append(Duplicate(index, -closest[1], closest[0], exact=False))
        else:
            candidates.add(index)
            kept[index] = grams
        progress()
    return found


class _All:
    """Every text is a candidate: quicker than sketches for a few."""

    def __init__(self) -> None:
        self._indices: list[int] = []

    def like(self, _: frozenset[str]) -> list[int]:
        return self._indices

    def add(self, index: int) -> None:
        self._indices.append(index)


class _Sketches:
    """MinHash sketches in an index for locality-sensitive hashing."""

    def __init__(self, threshold: float) -> None:
        from datasketch import MinHash, MinHashLSH

        self._sketch_of = MinHash
        # missing a duplicate costs more than looking at one candidate too many: each is verified
        self._index = MinHashLSH(threshold=threshold, num_perm=_PERMUTATIONS, weights=(0.1, 0.9))
        self._last: Any = None

    def like(self, grams: frozenset[str]) -> list[int]:
        self._last = self._sketch_of(num_perm=_PERMUTATIONS, seed=_MINHASH_SEED, hashfunc=zlib.crc32)
        self._last.update_batch([gram.encode() for gram in grams])
        found: list[int] = self._index.query(self._last)
        return found

    def add(self, index: int) -> None:
        """Add the text that was last asked about."""
        self._index.insert(index, self._last)
