"""The test split of a run as a benchmark: its prompts are asked as in training, and its answers read as the vote's."""

from __future__ import annotations

import logging
from pathlib import Path

from retort.config.data import AnswerType, BenchmarkConfig, SamplingConfig
from retort.engines.base import Engine, Request, derived_seed
from retort.engines.log import answer
from retort.errors import InputError
from retort.io import tables
from retort.modeling.conversations import shown
from retort.text.agreement import stated
from retort.text.gold import readable_gold

_log = logging.getLogger(__name__)


def evaluate_heldout(
    benchmark: BenchmarkConfig, kind: AnswerType, engine: Engine, prompts: Path, log: Path, sampling: SamplingConfig
) -> tables.Rows:
    """Answer and score the prompts of the test split whose gold answer is known.

    Args:
        benchmark: The benchmark; its temperature and limit count.
        kind: Kind of answer of this run's prompts.
        engine: A started engine.
        prompts: Table of the test split.
        log: File of finished responses, which a killed task resumes from.
        sampling: Token limit and batch size.

    Returns:
        Rows of `retort.io.tables.RESULTS`, in the order of the table.

    Raises:
        InputError: no prompt has a gold answer.
        EngineError: the engine failed after its own retries; what was answered before is in the log.
    """
    questions = with_gold(tables.read_table(prompts, tables.PROMPTS), kind, file=prompts)[: benchmark.limit]
    # A seed for each item, the same for every model and run: two models differ by their weights alone.
    requests = [
        Request(
            row["prompt_id"],
            row["prompt"],
            0,
            benchmark.temperature,
            derived_seed(0, benchmark.name, row["prompt_id"], 0),
        )
        for row in questions
    ]
    rows: tables.Rows = []
    for question, response in zip(
        questions, answer(engine, requests, sampling, log, words=benchmark.name), strict=True
    ):
        said = stated(response.response, kind)
        right = said.agrees(question["answer"])
        rows.append(
            {
                "item_id": question["prompt_id"],
                "group_id": question["prompt_id"],
                "subtask": benchmark.name,
                "question": shown(question["prompt"]),
                "answer": question["answer"],
                "response": response.response,
                "read": said.value,
                "score": float(right),
                "correct": right,
                "official": right,
                "harness": {},
                "finish_reason": response.finish_reason,
                "prompt_tokens": response.prompt_tokens,
                "response_tokens": response.response_tokens,
            }
        )
    return rows


def with_gold(rows: tables.Rows, kind: AnswerType, *, file: Path | str) -> tables.Rows:
    """The prompts of the test split that can be scored: their gold answer is known and of the run's kind.

    Args:
        rows: Rows of `retort.io.tables.PROMPTS`.
        kind: Kind of answer of this run's prompts.
        file: Where they stand, for messages.

    Raises:
        InputError: there is none.
    """
    known = [row for row in rows if row["answer"] is not None]
    if not known:
        problem = f"none of the {len(rows)} held-out prompts has a gold answer" if rows else "there are no prompts"
        remedy = "Set prompts.test and a source's answer_field, or evaluate on another benchmark than `heldout`"
        raise InputError(problem, file=file, field="answer", remedy=remedy)
    readable = [row for row in known if readable_gold(row["answer"], kind)]
    if len(readable) < len(known):
        first = next(row for row in known if row not in readable)
        _log.warning(
            "%s: %d of %d gold answers are no %s, so their prompts are not asked; the first is %.80r",
            file, len(known) - len(readable), len(known), kind, first["answer"],
        )  # fmt: skip
    if not readable:
        remedy = f"Correct the gold answers, or set `answer`, which is {kind}"
        raise InputError(f"none of the {len(known)} gold answers is a {kind}", file=file, field="answer", remedy=remedy)
    return readable
