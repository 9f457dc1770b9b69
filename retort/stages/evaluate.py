"""Stage `evaluate`: one model's answers to one benchmark, item by item."""

from __future__ import annotations

from dataclasses import dataclass

from retort import tables
from retort.config.data import BenchmarkConfig, SamplingConfig
from retort.engines.base import Engine, Request, Response, derived_seed
from retort.engines.log import answer
from retort.engines.make import make_engine
from retort.errors import ConfigError
from retort.evaluation.benchmarks import load_questions, score_response
from retort.evaluation.statistics import wilson_interval
from retort.models import read_reference
from retort.stages.context import Context


@dataclass(frozen=True)
class EvaluateResult:
    """Metrics of one model on one benchmark."""

    model: str
    benchmark: str
    items: int
    correct: int
    accuracy: float
    """Share of items whose answer, as Retort reads it, equals the gold answer; unread ones count as wrong."""
    low: float
    high: float
    """95 % interval of the accuracy (Wilson)."""
    official_accuracy: float
    """By the benchmark's own published rule."""
    unparsed_rate: float
    cut_off_rate: float
    prompt_tokens: int
    response_tokens: int
    mean_response_tokens: float
    cost: float
    """Price of the tokens, in the unit of the configured prices."""
    flops: float
    """2 x parameters x tokens (Kaplan et al. 2020, §2.1), for a model run here; 0 otherwise."""


def run(context: Context) -> EvaluateResult:
    """Answer and score one benchmark with one model; resumes after a kill with what is missing.

    Raises:
        InputError: the benchmark is missing or malformed, or a prompt does not fit the model's context.
        ConfigError: the model is a file of recorded responses, which answers nothing new.
        EngineError: an endpoint failed after its own retries; run the stage again.
    """
    model, config = context.task.values["model"], context.config.evaluate
    benchmark = next(one for one in config.benchmarks if one.name == context.task.values["benchmark"])
    test_split = context.paths.prompts("test")
    questions = load_questions(benchmark, context.paths.root, test_split)
    folder = context.paths.model(model)
    if (read_reference(folder).engine or {}).get("type") == "recorded":
        raise ConfigError(
            f"evaluate.models names {model!r}, but its responses come from a file and it can answer nothing new. "
            "Leave it out of evaluate.models."
        )
    sampling = SamplingConfig(
        temperatures=[benchmark.temperature],
        samples=1,
        max_new_tokens=config.max_new_tokens,
        batch_size=config.batch_size,
    )
    # A seed for each item, the same for every model and run: two models differ by their weights alone.
    requests = [
        Request(one.item_id, one.prompt, 0, benchmark.temperature, derived_seed(0, benchmark.name, one.item_id, 0))
        for one in questions
    ]
    file = benchmark.path or "outputs/prompts/test.parquet"
    engine = make_engine(None, folder, root=context.paths.root, file=file, training=model != "teacher")
    log = context.state() / "responses.jsonl"
    with engine:
        responses = answer(engine, requests, sampling, log, words=context.name)
    rows: tables.Rows = []
    for question, response in zip(questions, responses, strict=True):
        read, right, official = score_response(benchmark, context.config.answer, question, response.response)
        rows.append(
            {
                "item_id": question.item_id,
                "group_id": question.group_id,
                "answer": question.answer,
                "response": response.response,
                "read": read,
                "correct": right,
                "official": official,
                "finish_reason": response.finish_reason,
                "response_tokens": response.response_tokens,
            }
        )
    tables.write_table(context.paths.results(model, benchmark.name), rows, tables.RESULTS)
    return _result(model, benchmark, engine, rows, responses)


def _result(
    model: str, benchmark: BenchmarkConfig, engine: Engine, rows: tables.Rows, responses: list[Response]
) -> EvaluateResult:
    n, correct = len(rows), sum(row["correct"] for row in rows)
    low, high = wilson_interval(correct, n)
    prompt_tokens = sum(one.prompt_tokens for one in responses)
    response_tokens = sum(one.response_tokens for one in responses)
    return EvaluateResult(
        model=model,
        benchmark=benchmark.name,
        items=n,
        correct=correct,
        accuracy=correct / n,
        low=low,
        high=high,
        official_accuracy=sum(row["official"] for row in rows) / n,
        unparsed_rate=sum(row["read"] is None for row in rows) / n,
        cut_off_rate=sum(row["finish_reason"] == "length" for row in rows) / n,
        prompt_tokens=prompt_tokens,
        response_tokens=response_tokens,
        mean_response_tokens=response_tokens / n,
        cost=(engine.prices[0] * prompt_tokens + engine.prices[1] * response_tokens) / 1e6,
        flops=2.0 * (engine.parameters or 0) * (prompt_tokens + response_tokens),
    )
