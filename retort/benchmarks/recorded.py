"""Collecting the votes of recorded responses to a benchmark, from one file or several."""

from __future__ import annotations

import string
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain, islice
from pathlib import Path

from retort.benchmarks.items import Item, Task, read_items
from retort.benchmarks.score import KINDS
from retort.benchmarks.unanswerable import says_unanswerable
from retort.text.extract import Answer, read_answer
from retort.votes.answers import Ballot, Batch, Counts, Origin, Reader, collect

_BATCH = 4096
_UNNAMED = "response"
"""What the reader calls a model that the file does not name."""


def collect_recorded(task: Task, files: Sequence[Path], counts: Counts) -> dict[str, Ballot]:
    """The answers to each question, over all files.

    The same question with another gold answer or another number of options, as in a revised data set, is another
    question. A letter that names none of a question's options is no answer. Responses of a model that a file
    does not name are told apart by the file's name.

    Args:
        task: Benchmark, whose shapes the files have.
        files: The files.
        counts: Counts what was read in the responses.

    Raises:
        InputError: a file is missing or malformed, or a row has no gold answer or no response.
    """
    ballots: dict[str, Ballot] = {}
    options: dict[str, int] = {}
    items = chain.from_iterable(((path, item) for item in read_items(task, path)) for path in files)
    for _, found in collect(_batches(items, ballots, options), ballots, _reader(task)):
        counts += found
    for name, count in options.items():
        letters = {*string.ascii_uppercase[:count]}
        ballots[name].answers = [answer if answer in letters else None for answer in ballots[name].answers]
    return ballots


def _batches(
    items: Iterator[tuple[Path, Item]], ballots: dict[str, Ballot], options: dict[str, int]
) -> Iterator[Batch]:
    while some := list(islice(items, _BATCH)):
        names = [f"{item.group}\0{item.answer}\0{item.options}" for _, item in some]
        for name, (_, item) in zip(names, some, strict=True):
            ballots.setdefault(name, Ballot(item.answer))
            if item.options is not None:
                options[name] = item.options
        origins = [Origin(path.name if item.model == _UNNAMED else item.model) for path, item in some]
        yield Batch(names, origins, [item.response for _, item in some])


def _reader(task: Task) -> Reader:
    return read_or_refusal if task == "gsm_plus" else partial(read_answer, kind=KINDS[task])


def read_or_refusal(response: str) -> Answer | None:
    """A number, or "None" where the response says that the question cannot be answered, as GSM-Plus' gold does."""
    answer = read_answer(response, "number")
    return says_unanswerable(response, answer) or answer
