"""Running a benchmark of lm-evaluation-harness: its prompts, filters and metrics, Retort's engine and reading."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retort.config.data import BenchmarkConfig, SamplingConfig
from retort.engines.base import Engine
from retort.errors import ConfigError, InputError
from retort.evaluation.reading import Reading, group_of, read_response
from retort.evaluation.tasks import build_tasks, explained_fields, files_of
from retort.io.tables import Rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lm_eval.api.task import ConfigurableTask

    from retort.evaluation.lm import EngineLM

Sample = dict[str, Any]
"""What the harness logs of one item under one of its filters."""

_INVALID = "[invalid]"
"""What the harness's pattern filters return where nothing matched."""


@dataclass(frozen=True)
class Outcome:
    """A benchmark's items, and what the harness itself makes of them."""

    rows: Rows
    """Rows of `retort.io.tables.RESULTS`, by task and in the order of its documents."""
    harness: dict[str, float]
    """The harness's own aggregate of each `filter/metric`."""


def run_benchmark(
    benchmark: BenchmarkConfig, engine: Engine, sampling: SamplingConfig, *, root: Path, logs: Path
) -> Outcome:
    """Ask a model a benchmark's items and score them.

    Args:
        benchmark: The benchmark.
        engine: A started engine.
        sampling: Batch size, and the token limit where neither benchmark nor task has one.
        root: Workspace, from which the benchmark's files are named.
        logs: Folder of the logs of finished responses, which a killed task resumes from.

    Raises:
        ConfigError: there is no such task, it lacks a split's file, or it has no score between 0 and 1 an item.
        InputError: a file is missing or malformed, an item has no gold answer, or a prompt does not fit the context.
        StorageError: a data set of the hub cannot be fetched.
        EngineError: the engine failed after its own retries; what was answered before is in the logs.
    """
    from lm_eval.evaluator import evaluate

    from retort.evaluation.lm import EngineLM

    with _quiet():
        tasks = build_tasks(benchmark, root)
        model = EngineLM(engine, benchmark, sampling, logs=logs, file=files_of(benchmark))
        with explained_fields(benchmark):
            results = evaluate(
                model,
                tasks,
                limit=benchmark.limit,
                bootstrap_iters=0,  # intervals are Retort's, from the items
                apply_chat_template=benchmark.chat,
                fewshot_as_multiturn=True,
            )
    rows: Rows = []
    for name, samples in sorted(results["samples"].items()):
        rows += _task_rows(benchmark, tasks["tasks"][name], samples, model)
    return Outcome(rows, _aggregates(results, benchmark, rows))


def _task_rows(benchmark: BenchmarkConfig, task: ConfigurableTask, samples: list[Sample], model: EngineLM) -> Rows:
    """The items of one task; the harness logs each once a filter."""
    by_item: dict[int, list[Sample]] = {}
    for sample in samples:
        by_item.setdefault(sample["doc_id"], []).append(sample)
    return [_row(benchmark, task, place, by_item[place], model) for place in sorted(by_item)]


def _row(
    benchmark: BenchmarkConfig, task: ConfigurableTask, place: int, samples: list[Sample], model: EngineLM
) -> dict[str, Any]:
    first, name = samples[0], str(task.task_name)
    if first["target"] is None or first["target"] == "":
        remedy = "Mend or remove the row"
        raise InputError("has no gold answer", file=files_of(benchmark), row=place + 1, field="answer", remedy=remedy)
    scores = {f"{one['filter']}/{metric}": _alone(task, metric, one) for one in samples for metric in one["metrics"]}
    primary = _share(benchmark, scores)
    response, extracted = _said(task, first)
    reading = read_response(name, first["doc"], str(first["target"]), response, benchmark.answer)
    if reading is None:  # then the harness's first filter and metric count
        reading = Reading(str(first["target"]), extracted, primary == 1)
        score = primary
    else:
        score = float(reading.correct)
    usage = model.usage[name, place]
    # The item's own text is part of its name: items of two files pair only where they are the same question.
    item_id = f"{name}-{place}-{first['doc_hash'][:8]}"
    return {
        "item_id": item_id,
        "group_id": group_of(first["doc"], item_id, benchmark.group_field),
        "subtask": name,
        "question": str(task.doc_to_text(first["doc"])),
        "answer": reading.answer,
        "response": response,
        "read": reading.read,
        "score": score,
        "correct": reading.correct,
        "official": primary == 1 if reading.official is None else reading.official,
        "harness": scores,
        "finish_reason": usage.finish_reason,
        "prompt_tokens": usage.prompt_tokens,
        "response_tokens": usage.response_tokens,
    }


def _alone(task: ConfigurableTask, metric: str, sample: Sample) -> float:
    """A metric of one item: the metric's own aggregate over it alone."""
    value, aggregate = sample[metric], task.aggregation().get(metric)
    return float(aggregate([value]) if aggregate is not None else value)


def _share(benchmark: BenchmarkConfig, scores: Mapping[str, float]) -> float:
    name, primary = next(iter(scores.items()))
    if not 0 <= primary <= 1:
        raise ConfigError(
            f"benchmark {benchmark.name!r}: {name} of task {benchmark.task!r} is {primary:.4g} for an item, and models "
            "are compared by scores between 0 and 1. Choose another task, or run it with `lm_eval` itself."
        )
    return primary


def _said(task: ConfigurableTask, sample: Sample) -> tuple[str, str | None]:
    """The text of a response, and the answer that the harness's filter reads in it."""
    if task.OUTPUT_TYPE == "generate_until":
        extracted = sample["filtered_resps"][0]
        return str(sample["resps"][0][0]), None if extracted in (_INVALID, "") else str(extracted)
    if task.OUTPUT_TYPE == "multiple_choice":
        choices = [str(choice) for choice in task.doc_to_choice(sample["doc"])]
        likelihoods = [float(score) for score, _ in sample["filtered_resps"][: len(choices)]]
        return "", choices[likelihoods.index(max(likelihoods))]
    return "", ""


def _aggregates(results: Mapping[str, Any], benchmark: BenchmarkConfig, rows: Rows) -> dict[str, float]:
    """The harness's own figures of the task or group; of a tag, which it does not aggregate, means over the items."""
    found = results["results"].get(benchmark.task)
    if found is None:
        names = dict.fromkeys(name for row in rows for name in row["harness"])
        parts = {name: [row["harness"][name] for row in rows if name in row["harness"]] for name in names}
        return {name: sum(values) / len(values) for name, values in parts.items()}
    pairs = [(key.partition(","), value) for key, value in found.items() if isinstance(value, int | float)]
    return {f"{name}/{metric}": float(value) for (metric, _, name), value in pairs if name and "_stderr" not in metric}


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the harness's log and its bars for each task to itself: the stage has a progress line of its own."""
    import datasets
    from lm_eval.api import task as harness_task

    log, bars, shown = logging.getLogger("lm_eval"), datasets.are_progress_bars_disabled(), harness_task.tqdm
    level = log.level
    log.setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    harness_task.tqdm = lambda rows, **_: rows
    try:
        yield
    finally:
        log.setLevel(level)
        harness_task.tqdm = shown
        if not bars:
            datasets.enable_progress_bars()
