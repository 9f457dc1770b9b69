"""A benchmark with a rule of its own (`retort.plugins.BenchmarkType`): its items are asked, its rule scores."""

from __future__ import annotations

from pathlib import Path

from retort.config.data import BenchmarkConfig, SamplingConfig
from retort.engines.base import Engine, Request, derived_seed
from retort.engines.log import answer
from retort.errors import InputError
from retort.io import tables
from retort.plugins import BenchmarkType, Item, Verdict


def evaluate_own(
    kind: BenchmarkType, benchmark: BenchmarkConfig, engine: Engine, root: Path, log: Path, sampling: SamplingConfig
) -> tables.Rows:
    """Answer and score the benchmark's items.

    Args:
        kind: The benchmark's registration.
        benchmark: Its entry of the configuration; `data`, temperature and limit count.
        engine: A started engine.
        root: Workspace, from which files are named.
        log: File of finished responses, which a killed task resumes from.
        sampling: Token limit and batch size.

    Returns:
        Rows of `retort.io.tables.RESULTS`, in the order of the items.

    Raises:
        InputError: there is no item, two have one id, or the rule gives no score between 0 and 1.
        EngineError: the engine failed after its own retries; what was answered before is in the log.
    """
    items = list(kind.items({split: root / file for split, file in benchmark.data.items()}))[: benchmark.limit]
    place = f"evaluate.benchmarks: {benchmark.name}"
    if not items or len({item.item_id for item in items}) != len(items):
        problem = "has no items" if not items else "gives one item_id to several items"
        raise InputError(problem, file=place, remedy=f"Mend `items` of {benchmark.task}")
    requests = [
        Request(
            item.item_id,
            item.question,
            0,
            benchmark.temperature,
            derived_seed(0, benchmark.name, item.item_id, 0),
            form="message" if benchmark.chat else "text",
        )
        for item in items
    ]
    responses = answer(engine, requests, sampling, log, words=benchmark.name)
    rows: tables.Rows = []
    for number, (item, response) in enumerate(zip(items, responses, strict=True), 1):
        verdict = _checked(kind.score(item, response.response), item, number, f"{place} ({benchmark.task})")
        rows.append(
            {
                "item_id": item.item_id,
                "group_id": item.group or item.item_id,
                "subtask": benchmark.name,
                "question": item.question,
                "answer": item.answer,
                "response": response.response,
                "read": verdict.read,
                "score": float(verdict.score),
                "correct": verdict.score == 1,
                "official": verdict.score == 1,
                "harness": {},
                "finish_reason": response.finish_reason,
                "prompt_tokens": response.prompt_tokens,
                "response_tokens": response.response_tokens,
            }
        )
    return rows


def _checked(verdict: Verdict, item: Item, row: int, place: str) -> Verdict:
    if not isinstance(verdict, Verdict) or not 0 <= verdict.score <= 1:  # NaN is not
        raise InputError(
            f"the rule gave {verdict!r} for item {item.item_id!r}",
            file=place,
            row=row,
            field="score",
            remedy="Return a retort.plugins.Verdict with a score between 0 and 1",
        )
    return verdict
