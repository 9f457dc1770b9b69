"""Collecting the answers to many prompts: responses are read in several processes, and only answers are kept."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from multiprocessing import get_context
from typing import NamedTuple

from retort.text.extract import Answer

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


@dataclass
class Ballot:
    """The answers to one prompt, as they are collected."""

    gold: str | None = None
    answers: list[str | None] = field(default_factory=list)
    """One a response; None where no answer could be read."""
    origins: list[Origin] = field(default_factory=list)
    mean_logprobs: list[float | None] = field(default_factory=list)
    """One a response, or empty."""


def collect(
    batches: Iterable[Batch], ballots: dict[str, Ballot], read: Reader, *, workers: int | None = None
) -> Iterator[tuple[int, Counter[str]]]:
    """Read the responses of `batches` and put their answers into `ballots`.

    Texts are dropped batch by batch, and equal answers are kept once, so memory grows with the number of responses
    and not with their length.

    Args:
        batches: Responses; the prompts that they name must be in `ballots`.
        ballots: Where the answers go.
        read: Reads an answer.
        workers: Processes that read; by default one a core that this process may use, and none for a single batch.

    Yields:
        For each batch its number of responses and how many answers each rule read.
    """
    kept: dict[str, str] = {}
    origins: dict[Origin, Origin] = {}
    for batch, (answers, rules) in _in_order(batches, read, _cores() if workers is None else workers):
        logprobs = batch.mean_logprobs or ()
        for place, (prompt, answer, origin) in enumerate(zip(batch.prompts, answers, batch.origins, strict=True)):
            ballot = ballots[prompt]
            ballot.answers.append(answer if answer is None else kept.setdefault(answer, answer))
            ballot.origins.append(origins.setdefault(origin, origin))
            if logprobs:
                ballot.mean_logprobs.append(logprobs[place])
        yield len(answers), rules


_Read = tuple[list[str | None], Counter[str]]


def _read(responses: Sequence[str], read: Reader) -> _Read:
    rules: Counter[str] = Counter()
    values: list[str | None] = []
    for response in responses:
        answer = read(response)
        values.append(answer.value if answer else None)
        if answer:
            rules[answer.rule] += 1
    return values, rules


def _in_order(batches: Iterable[Batch], read: Reader, workers: int) -> Iterator[tuple[Batch, _Read]]:
    """Each batch with what was read in it; two batches a process are under way at once, so memory is bounded."""
    source = iter(batches)
    first, second = next(source, None), next(source, None)
    if first is None:
        return
    if second is None or workers < 2:
        for batch in chain([first], [second] if second else [], source):
            yield batch, _read(batch.responses, read)
        return
    # Not forked: Arrow's threads, which read the tables, do not survive that.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        under_way: deque[tuple[Batch, Future[_Read]]] = deque()
        for batch in chain([first, second], source):
            under_way.append((batch, pool.submit(_read, batch.responses, read)))
            if len(under_way) > 2 * workers:
                done, future = under_way.popleft()
                yield done, future.result()
        for done, future in under_way:
            yield done, future.result()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
