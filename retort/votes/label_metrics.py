"""How good pseudo-labels and samples are, where the truth is known for some prompts.

All functions are exact: no sampling. Counts are of responses to one prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import comb, log


@dataclass(frozen=True)
class LabelQuality:
    """Quality of the votes on a set of prompts."""

    prompts: int
    coverage: float
    """Share of prompts whose vote did not abstain."""
    accuracy: float | None
    """Share of labels that equal the gold answer, among labels with one; None where there are none."""
    known: int
    """Labels whose gold answer is known."""
    mean_share: float
    """Mean share of the winner over all prompts."""


def label_quality(shares: Sequence[float], correct: Sequence[bool | None], abstained: Sequence[bool]) -> LabelQuality:
    """Summarise votes: one entry a prompt; `correct` is None where gold is unknown or the vote abstained."""
    known = [right for right, no_label in zip(correct, abstained, strict=True) if right is not None and not no_label]
    prompts = len(shares)
    return LabelQuality(
        prompts=prompts,
        coverage=sum(not no_label for no_label in abstained) / prompts if prompts else 0.0,
        accuracy=sum(known) / len(known) if known else None,
        known=len(known),
        mean_share=sum(shares) / prompts if prompts else 0.0,
    )


def accuracy_at_coverage(confidence: Sequence[float], correct: Sequence[bool]) -> list[tuple[float, float]]:
    """Accuracy of the labels kept when only the most confident ones are kept.

    The risk-coverage curve of El-Yaniv and Wiener 2010 (§2), with accuracy for risk.

    Returns:
        (coverage, accuracy) for each distinct confidence, from the fewest labels to all; equal confidences come and
        go together, so the curve does not depend on the order of prompts.
    """
    ranked = sorted(zip(confidence, correct, strict=True), key=lambda pair: -pair[0])
    curve, right = [], 0
    for count, (value, is_right) in enumerate(ranked, start=1):
        right += is_right
        if count == len(ranked) or ranked[count][0] != value:
            curve.append((count / len(ranked), right / count))
    return curve


def brier(confidence: Sequence[float | None], correct: Sequence[bool | None]) -> float | None:
    """Mean squared error of confidences as probabilities that a label is right (Brier 1950).

    Over the labels that have both a confidence and a known gold answer; None where there are none.
    """
    errors = [
        (value - right) ** 2
        for value, right in zip(confidence, correct, strict=True)
        if value is not None and right is not None
    ]
    return sum(errors) / len(errors) if errors else None


def agreement(counts: Sequence[int], total: int) -> float:
    """Probability that two different responses to a prompt give the same answer; 1 for a single response.

    Args:
        counts: Responses in each group of equal answers.
        total: All responses, unparsed ones included: those agree with none.
    """
    return sum(count * (count - 1) for count in counts) / (total * (total - 1)) if total > 1 else 1.0


def answer_entropy(counts: Sequence[int], unparsed: int = 0) -> float:
    """Shannon entropy in nats of a prompt's answers, unparsed responses as one group."""
    groups = [count for count in (*counts, unparsed) if count]
    total = sum(groups)
    return -sum(count / total * log(count / total) for count in groups) if len(groups) > 1 else 0.0


def pass_at_k(total: int, right: int, k: int) -> float:
    """Probability that k responses drawn without replacement hold a right one (Chen et al. 2021, eq. 1).

    Raises:
        ValueError: k is not between 1 and the number of responses.
    """
    if not 1 <= k <= total:
        raise ValueError(f"k must be between 1 and {total}, not {k}")
    return 1.0 - comb(total - right, k) / comb(total, k)


def maj_at_k(right: int, wrong: Sequence[int], unparsed: int, k: int) -> float:
    """Probability that a vote over k responses drawn without replacement elects the right answer, ties abstaining.

    The exact expectation over all subsets, as `pass_at_k` is for maj@k of Lewkowycz et al. 2022 (§3.2): of the
    C(n, k) subsets, those where the right answer has j votes and every other answer fewer, summed over j. The number
    of ways to draw the others is a coefficient of a product of polynomials, one an answer: of (1+x)^c where all c of
    its votes are fewer than j, which multiply to one binomial, and of (1+x)^c cut off below x^j for the few others.

    Args:
        right: Responses with the right answer.
        wrong: Responses in each group of equal wrong answers.
        unparsed: Responses without a readable answer, which vote for nothing.
        k: Responses drawn.

    Raises:
        ValueError: k is not between 1 and the number of responses.
    """
    total = right + sum(wrong) + unparsed
    if not 1 <= k <= total:
        raise ValueError(f"k must be between 1 and {total}, not {k}")
    return _maj_at_k(right, tuple(sorted(wrong)), unparsed, k)


@lru_cache(maxsize=1 << 16)
def _maj_at_k(right: int, wrong: tuple[int, ...], unparsed: int, k: int) -> float:
    total, ways = right + sum(wrong) + unparsed, 0
    for votes in range(1, min(right, k) + 1):
        free = unparsed + sum(count for count in wrong if count < votes)
        others = [1]
        for count in wrong:
            if count >= votes:
                others = _product(others, [comb(count, drawn) for drawn in range(votes)], k - votes)
        rest = sum(number * comb(free, k - votes - drawn) for drawn, number in enumerate(others))
        ways += comb(right, votes) * rest
    return ways / comb(total, k)


def _product(a: Sequence[int], b: Sequence[int], degree: int) -> list[int]:
    """Product of two polynomials, cut off above `degree`."""
    out = [0] * min(len(a) + len(b) - 1, degree + 1)
    for i, left in enumerate(a):
        for j, value in enumerate(b[: degree - i + 1]):
            out[i + j] += left * value
    return out
