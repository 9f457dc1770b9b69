"""Collecting the answers to many prompts: responses are read in several processes, and only answers are kept."""

from __future__ import annotations

import logging
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple, Self

from retort.io.processes import spawned
from retort.text.extract import Answer
from retort.text.finish_reasons import NOT_RECORDED, is_whole, unexpected, whole_text

_log = logging.getLogger(__name__)

Reader = Callable[[str], Answer | None]
"""Reads a response's answer; must be picklable, so a function of a module or a `functools.partial` of one."""


class Origin(NamedTuple):
    """Where a response comes from."""

    model: str
    temperature: float | None = None
    """None where it is not known."""


class Batch(NamedTuple):
    """Some responses, one entry each."""

    prompts: Sequence[str]
    """Names of the prompts that they answer."""
    origins: Sequence[Origin]
    responses: Sequence[str]
    mean_logprobs: Sequence[float | None] | None = None
    """Mean log-probability of their tokens, where votes are weighed by it."""
    finish_reasons: Sequence[str] | None = None
    """How each ended, as `retort.text.finish_reasons` names it; None: nothing says so, and all count as whole."""


@dataclass
class Counts:
    """What was read in some responses."""

    rules: Counter[str] = field(default_factory=Counter)
    """How many answers each extraction rule read."""
    not_whole: Counter[str] = field(default_factory=Counter)
    """Responses that are not whole, and so have no answer, by their finish reason."""
    not_recorded: int = 0
    """Responses of which no record says how they ended; they count as whole."""

    def __iadd__(self, other: Counts) -> Self:
        """Add those of other responses."""
        self.rules += other.rules
        self.not_whole += other.not_whole
        self.not_recorded += other.not_recorded
        return self

    def warn(self) -> None:
        """Say in the log how many responses have no vote because they are not whole, and why."""
        if self.not_whole:
            how = ", ".join(f"{reason} {count}" for reason, count in sorted(self.not_whole.items()))
            _log.warning("%d responses are not whole and have no vote: %s", self.not_whole.total(), how)
        if strange := unexpected(self.not_whole):
            _log.warning("finish reasons that are neither an end nor a limit: %s", ", ".join(strange))
        if self.not_recorded:
            _log.warning("%d responses have no finish reason on record and count as whole", self.not_recorded)


@dataclass(slots=True)
class Ballot:
    """The answers to one prompt, as they are collected."""

    gold: str | None = None
    answers: list[str | None] = field(default_factory=list)
    """One a response; None where no answer could be read, or where the response is not whole."""
    origins: list[Origin] = field(default_factory=list)
    mean_logprobs: list[float | None] = field(default_factory=list)
    """One a response, or empty."""


def collect(
    batches: Iterable[Batch], ballots: dict[str, Ballot], read: Reader, *, workers: int | None = None
) -> Iterator[tuple[int, Counts]]:
    """Read the responses of `batches` and put their answers into `ballots`; one that is not whole has no answer.

    Texts are dropped batch by batch, and equal answers are kept once, so memory grows with the number of responses
    and not with their length.

    Args:
        batches: Responses; the prompts that they name must be in `ballots`.
        ballots: Where the answers go.
        read: Reads an answer.
        workers: Processes that read; by default one a core that this process may use, and none for a single batch.

    Yields:
        For each batch its number of responses, and what was read in them.
    """
    kept: dict[str, str] = {}
    origins: dict[Origin, Origin] = {}
    for batch, (answers, counts) in _in_order(batches, read, _cores() if workers is None else workers):
        logprobs = batch.mean_logprobs or ()
        for place, (prompt, answer, origin) in enumerate(zip(batch.prompts, answers, batch.origins, strict=True)):
            ballot = ballots[prompt]
            ballot.answers.append(answer if answer is None else kept.setdefault(answer, answer))
            ballot.origins.append(origins.setdefault(origin, origin))
            if logprobs:
                ballot.mean_logprobs.append(logprobs[place])
        yield len(answers), counts


_Read = tuple[list[str | None], Counts]


def _read(responses: Sequence[str], reasons: Sequence[str] | None, read: Reader) -> _Read:
    counts, values = Counts(), []
    for response, reason in zip(responses, reasons or [NOT_RECORDED] * len(responses), strict=True):
        if not is_whole(reason):
            counts.not_whole[reason] += 1
        counts.not_recorded += reason == NOT_RECORDED
        answer = read(whole_text(response, reason))
        values.append(answer.value if answer else None)
        if answer:
            counts.rules[answer.rule] += 1
    return values, counts


def _in_order(batches: Iterable[Batch], read: Reader, workers: int) -> Iterator[tuple[Batch, _Read]]:
    """Each batch with what was read in it; two batches a process are under way at once, so memory is bounded."""
    source = iter(batches)
    first, second = next(source, None), next(source, None)
    if first is None:
        return
    if second is None or workers < 2:
        for batch in chain([first], [second] if second else [], source):
            yield batch, _read(batch.responses, batch.finish_reasons, read)
        return
    with spawned(workers) as pool:
        in_flight: deque[tuple[Batch, Future[_Read]]] = deque()
        for batch in chain([first, second], source):
            in_flight.append((batch, pool.submit(_read, batch.responses, batch.finish_reasons, read)))
            if len(in_flight) > 2 * workers:
                done, future = in_flight.popleft()
                yield done, future.result()
        for done, future in in_flight:
            yield done, future.result()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
