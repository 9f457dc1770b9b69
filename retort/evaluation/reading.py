"""Retort's reading of responses to public benchmarks, beside the harness's filters, on the same outputs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from retort.benchmarks import official
from retort.benchmarks.items import Item, Task
from retort.benchmarks.score import read_item
from retort.config.data import AnswerType
from retort.text.agreement import stated
from retort.text.gold import gold_answer

Doc = Mapping[str, Any]


@dataclass(frozen=True)
class Reading:
    """What Retort makes of one response."""

    answer: str
    """The gold answer alone."""
    read: str | None
    correct: bool
    official: bool | None = None
    """By the benchmark's own rule where that is not one of the harness's filters."""


def known_benchmark(task: str, doc: Doc) -> Task | None:
    """Which of the benchmarks that Retort reads the items of a task belong to, told by its name and fields."""
    if task.startswith("mmlu_pro") and isinstance(doc.get("options"), list):
        return "mmlu_pro"
    if task.startswith(("gsm8k", "gsm_plus")):
        # GSM-Plus may be asked with GSM8K's prompts.
        return "gsm_plus" if "seed_question" in doc else "gsm8k"
    return None


def read_response(task: str, doc: Doc, target: str, response: str, kind: AnswerType | None) -> Reading | None:
    """Read a response to an item of a benchmark.

    Args:
        task: The harness's name of the task.
        doc: The item, as its file has it.
        target: What the task gives as gold.
        response: The response.
        kind: Kind of answer, for tasks that are not known here.

    Returns:
        None for a task that is not known, without a kind.
    """
    if kind is not None:
        answer = gold_answer(target)
        said = stated(response, kind)
        return Reading(answer, said.value, said.agrees(answer))
    benchmark = known_benchmark(task, doc)
    if benchmark is None:
        return None
    answer = gold_answer(str(doc["answer"])) if "answer" in doc else gold_answer(target)
    options = doc.get("options") if benchmark == "mmlu_pro" else None
    item = Item(
        row=0,
        group="",
        model="",
        response=response,
        solution=target,
        answer=answer,
        options=len(options) if options else None,
        option_texts=tuple(options or ()),
    )
    read, correct = read_item(benchmark, item)
    own = official.gsm_plus_correct(response, answer) if benchmark == "gsm_plus" else None
    return Reading(answer, read.value if read else None, correct, own)


def group_of(doc: Doc, item_id: str, field: str | None) -> str:
    """What items that share a source have in common: the hash of that field, or the item alone.

    Without a field, GSM-Plus' eight variants of one question are a group.
    """
    source = doc.get(field or "seed_question")
    return hashlib.sha256(str(source).encode()).hexdigest()[:16] if source is not None else item_id
