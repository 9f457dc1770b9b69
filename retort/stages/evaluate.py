"""Stage `evaluate`: one model's answers to one benchmark, item by item."""

from __future__ import annotations

from dataclasses import dataclass

from retort import plugins
from retort.config.data import BenchmarkConfig, SamplingConfig
from retort.config.run import TEACHER
from retort.engines.base import Engine
from retort.engines.make import make_engine
from retort.evaluation.heldout import evaluate_heldout
from retort.evaluation.statistics import mean_interval
from retort.io import tables
from retort.run.stage import Context
from retort.stages.answering import answering
from retort.text.finish_reasons import is_whole


@dataclass(frozen=True)
class EvaluateResult:
    """Metrics of one model on one benchmark."""

    model: str
    benchmark: str
    items: int
    correct: int
    accuracy: float
    """Share of items whose answer, as Retort reads it, equals the gold answer; unread ones count as wrong. For tasks
    whose answers Retort does not read, the mean of the harness's first metric."""
    low: float
    high: float
    """95 % interval of the accuracy (Wilson), widened where items share a source."""
    official_accuracy: float
    """By the benchmark's own published rule."""
    harness: dict[str, float]
    """lm-evaluation-harness's own figures for the same responses, by `filter/metric`; none for held-out prompts."""
    unparsed_rate: float
    cut_off_rate: float
    prompt_tokens: int
    response_tokens: int
    mean_response_tokens: float
    flops: float
    """2 x parameters x tokens (Kaplan et al. 2020, §2.1), for a model run here; 0 otherwise."""


def run(context: Context) -> EvaluateResult:
    """Answer and score one benchmark with one model; resumes after a kill with what is missing.

    Raises:
        InputError: the benchmark is missing or malformed, or a prompt does not fit the model's context.
        ConfigError: the model is a file of recorded responses, which answers nothing new; or there is no such task.
        EngineError: an endpoint failed after its own retries; run the stage again.
        StorageError: a benchmark's data set cannot be fetched.
    """
    model, config = context.task.values["model"], context.config.evaluate
    benchmark = next(one for one in config.benchmarks if one.name == context.task.values["benchmark"])
    made_here = model in getattr(context.config, "students", {})
    sampling = SamplingConfig(
        temperatures=[benchmark.temperature],
        samples=1,
        max_new_tokens=benchmark.max_new_tokens or config.max_new_tokens,
        batch_size=config.batch_size,
    )
    file = next(iter(benchmark.data.values()), "outputs/prompts/test.parquet")
    engine = answering(
        context,
        model,
        make_engine(
            context.config.engine(model),
            context.paths.model(model),
            place=f"{'students' if made_here else 'models'}.{model}.engine",
            root=context.paths.root,
            file=file,
            training=model != TEACHER,
            store=context.store,
        ),
    )
    state, harness = context.state(), {}
    with engine:
        if benchmark.task == "heldout":
            prompts, log = context.paths.prompts("test"), state / "responses.jsonl"
            rows = evaluate_heldout(benchmark, context.config.answer, engine, prompts, log, sampling)
        elif plugins.is_path(benchmark.task) or benchmark.task in plugins.names("benchmark"):
            from retort.evaluation.own import evaluate_own

            kind, log = plugins.load("benchmark", benchmark.task), state / "responses.jsonl"
            rows = evaluate_own(kind, benchmark, engine, context.paths.root, log, sampling)
        else:
            from retort.evaluation.harness import run_benchmark

            outcome = run_benchmark(benchmark, engine, sampling, root=context.paths.root, logs=state)
            rows, harness = outcome.rows, outcome.harness
    if benchmark.task == "heldout" and context.config.answer == "open":
        from retort.stages.judging import judge_rows

        rows = judge_rows(context, rows)
    tables.write_table(context.paths.results(model, benchmark.name), rows, tables.RESULTS)
    return _result(model, benchmark, engine, rows, harness)


def _result(
    model: str, benchmark: BenchmarkConfig, engine: Engine, rows: tables.Rows, harness: dict[str, float]
) -> EvaluateResult:
    n = len(rows)
    scores = [row["score"] for row in rows]
    low, high = mean_interval(scores, [row["group_id"] for row in rows])
    prompt_tokens = sum(row["prompt_tokens"] for row in rows)
    response_tokens = sum(row["response_tokens"] for row in rows)
    return EvaluateResult(
        model=model,
        benchmark=benchmark.name,
        items=n,
        correct=sum(row["correct"] for row in rows),
        accuracy=sum(scores) / n,
        low=low,
        high=high,
        official_accuracy=sum(row["official"] for row in rows) / n,
        harness=harness,
        unparsed_rate=sum(row["read"] is None for row in rows) / n,
        cut_off_rate=sum(not is_whole(row["finish_reason"]) for row in rows) / n,
        prompt_tokens=prompt_tokens,
        response_tokens=response_tokens,
        mean_response_tokens=response_tokens / n,
        flops=2.0 * (engine.parameters or 0) * (prompt_tokens + response_tokens),
    )
