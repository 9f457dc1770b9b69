"""What each response counts in a vote: once, by who gave it, or by how probable it was to its model."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from math import exp, log


class SourceWeights:
    """Learns what a vote of each source is worth, without gold answers.

    A source is right with probability p, and two wrong answers coincide with probability q; both are estimated with
    the vote of the *other* sources for the truth. A vote for an answer is then worth the log-likelihood ratio
    log(p / ((1 - p) q)) between "this is the answer" and "another one is": the weights of Nitzan and Paroush 1982
    (theorem 1) for two answers, q = 1, carried to any number of answers by the one-coin model of Dawid and Skene
    1979. Sources that share their errors are overrated: the estimate cannot know that they agree for another reason.
    """

    def __init__(self) -> None:
        """Nothing seen yet."""
        self._agreed: Counter[str] = Counter()
        self._compared: Counter[str] = Counter()
        self._coinciding = self._pairs = 0

    def add(self, groups: Sequence[Counter[str]], answers: Sequence[str | None], sources: Sequence[str]) -> None:
        """Take one prompt's responses in: their answers grouped by value, and who gave each."""
        place = {spelling: index for index, group in enumerate(groups) for spelling in group}
        by_source: dict[str, Counter[int]] = defaultdict(Counter)
        for answer, source in zip(answers, sources, strict=True):
            by_source[source][-1 if answer is None else place[answer]] += 1
        everyone = sum(by_source.values(), Counter())
        for source, given in by_source.items():
            winner = _winner(everyone - given)
            if winner is not None:
                self._agreed[source] += given[winner]
                self._compared[source] += given.total()
        winner = _winner(everyone)
        if winner is not None:
            wrong = [count for index, count in everyone.items() if index not in (winner, -1)]
            self._coinciding += sum(count * (count - 1) for count in wrong)
            self._pairs += sum(wrong) * (sum(wrong) - 1)

    def weights(self) -> dict[str, float]:
        """Weight of each source seen; all 1 where there is only one, or none could be compared."""
        if len(self._compared) < 2:
            return dict.fromkeys(self._compared, 1.0)
        q = (self._coinciding + 1) / (self._pairs + 2)
        # One agreement and one disagreement are added, so that a source seen twice is not taken for infallible.
        p = {name: (self._agreed[name] + 1) / (count + 2) for name, count in self._compared.items()}
        found = {name: max(0.0, log(right / ((1 - right) * q))) for name, right in sorted(p.items())}
        return found if any(found.values()) else dict.fromkeys(found, 1.0)


def _winner(counts: Counter[int]) -> int | None:
    """The answer with most votes, unparsed responses (-1) aside; None on a tie or without any."""
    ranked = sorted(((count, index) for index, count in counts.items() if index >= 0), reverse=True)
    if not ranked or (len(ranked) > 1 and ranked[0][0] == ranked[1][0]):
        return None
    return ranked[0][1]


def probability_weights(mean_logprobs: Iterable[float]) -> list[float]:
    """exp(mean log-probability of a response's tokens): the normalised weighted sum of Wang et al. 2023, §2."""
    return [exp(min(value, 0.0)) for value in mean_logprobs]
