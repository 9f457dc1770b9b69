"""Collecting the votes of recorded responses to a benchmark, from one file or several."""

from __future__ import annotations

import string
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain, islice
from pathlib import Path

from retort.benchmarks.items import Item, Task, read_items
from retort.benchmarks.own import OwnTask, read_own
from retort.benchmarks.score import KINDS
from retort.benchmarks.unanswerable import says_unanswerable
from retort.config.data import AnswerType
from retort.text.extract import Answer, read_answer
from retort.votes.answers import Ballot, Batch, Counts, Origin, Reader, collect

_BATCH = 4096
_UNNAMED = "response"
"""What the reader calls a model that the file does not name."""


def collect_recorded(
    task: Task, files: Sequence[Path], counts: Counts, own: OwnTask | None = None
) -> dict[str, Ballot]:
    """The answers to each question, over all files.

    The same question with another gold answer or another number of options, as in a revised data set, is another
    question. A letter that names none of a question's options is no answer. Responses of a model that a file
    does not name are told apart by the file's name.

    Args:
        task: Benchmark, whose shapes the files have.
        files: The files.
        counts: Counts what was read in the responses.
        own: What is known of one's own prompts, for task `own`.

    Raises:
        InputError: a file is missing or malformed, or a row has no gold answer or no response.
    """
    ballots: dict[str, Ballot] = {}
    options: dict[str, int] = {}
    items = chain.from_iterable(((path, item) for item in task_items(task, path, own)) for path in files)
    kind = own.kind if own is not None else KINDS[task]
    for _, found in collect(_batches(items, ballots, options), ballots, _reader(task, kind)):
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
            ballots.setdefault(name, Ballot(item.answer or None))
            if item.options is not None:
                options[name] = item.options
        origins = [Origin(path.name if item.model == _UNNAMED else item.model) for path, item in some]
        reasons = [item.finish_reason for _, item in some]
        yield Batch(names, origins, [item.response for _, item in some], None, reasons)


def task_items(task: Task, path: Path, own: OwnTask | None) -> Iterator[Item]:
    """The responses of a file, to a benchmark or to one's own prompts."""
    return read_items(task, path) if own is None else read_own(own, path)


def _reader(task: Task, kind: AnswerType) -> Reader:
    return read_or_refusal if task == "gsm_plus" else partial(read_answer, kind=kind)


def read_or_refusal(response: str) -> Answer | None:
    """A number, or "None" where the response says that the question cannot be answered, as GSM-Plus' gold does."""
    answer = read_answer(response, "number")
    return says_unanswerable(response, answer) or answer
