"""The tables of results as words: the same columns for the page, the Markdown and the model card."""

from __future__ import annotations

from collections.abc import Sequence

from retort.report.findings import Findings
from retort.report.formats import interval_words, money, percent, points
from retort.report.outline import Outline
from retort.report.prices import Prices
from retort.report.scores import Benchmark, Score

Column = tuple[str, list[str]]
"""Head and cells."""


def result_columns(benchmark: Benchmark, lines: Outline, prices: Prices | None = None) -> list[Column]:
    """Every model of a benchmark: accuracy with its interval, the same responses under other rules, and their tokens.

    Args:
        benchmark: The benchmark.
        lines: What its models are called.
        prices: Prices that turn the tokens into money; without any there is no such column.
    """
    names = list(benchmark.models)
    scores = [benchmark.models[name] for name in names]
    accuracy = [percent(score.accuracy) for score in scores]
    columns = [
        ("Model", [lines.label(name) for name in names]),
        ("Accuracy", accuracy),
        ("95 % interval", [_interval(score) for score in scores]),
    ]
    rules = {"By the official rule": [percent(score.official_accuracy) for score in scores]}
    for name in dict.fromkeys(name for score in scores for name in score.harness):
        rules[f"lm-eval {name.partition('/')[0]}"] = [percent(score.harness.get(name)) for score in scores]
    columns += [(head, cells) for head, cells in rules.items() if head != "By the official rule" or cells != accuracy]
    columns += [
        ("Unparsed", [percent(score.unparsed_rate) for score in scores]),
        ("Cut off", [percent(score.cut_off_rate) for score in scores]),
        ("Tokens a response", [f"{score.mean_response_tokens:.1f}" for score in scores]),
        ("Tokens", [f"{score.prompt_tokens + score.response_tokens:,}" for score in scores]),
    ]
    costs = [
        (prices or Prices()).cost(name, one.prompt_tokens, one.response_tokens)
        for name, one in benchmark.models.items()
    ]
    if any(cost is not None for cost in costs):
        columns.append((f"Cost, {(prices or Prices()).currency}", [money(cost) for cost in costs]))
    return [*columns, ("n", [f"{score.n:,}" for score in scores])]


def pair_columns(benchmark: Benchmark, lines: Outline) -> list[Column]:
    """Paired differences in percentage points, with what the items could have shown at all."""
    pairs = list(benchmark.paired.items())
    columns = [
        ("Paired difference", [lines.pair_name(names) for names, _ in pairs]),
        ("Points", [points(pair.difference) for _, pair in pairs]),
        ("95 % interval", [interval_words(pair.low, pair.high) for _, pair in pairs]),
        ("p", [_p_value(pair.p_value) for _, pair in pairs]),
        ("Detectable", [f"{100 * pair.minimum_detectable_difference:.1f}" for _, pair in pairs]),
        ("n", [f"{pair.n:,}" for _, pair in pairs]),
    ]
    if any(pair.groups < pair.n for _, pair in pairs):
        columns.append(("Sources", [f"{pair.groups:,}" for _, pair in pairs]))
    return columns


def comparison_columns(benchmarks: Sequence[Benchmark], lines: Outline) -> list[Column]:
    """Models x benchmarks: accuracy and its interval in each cell."""
    names = list(dict.fromkeys(name for benchmark in benchmarks for name in benchmark.models))
    columns = [("Model", [lines.label(name) for name in names])]
    for benchmark in benchmarks:
        found = [benchmark.models.get(name) for name in names]
        columns.append(
            (benchmark.name, [f"{percent(one.accuracy)} ({_interval(one)})" if one else "–" for one in found])
        )
    return columns


def rows_of(columns: Sequence[Column]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of a table."""
    return [head for head, _ in columns], [list(row) for row in zip(*(cells for _, cells in columns), strict=True)]


def kept_out(findings: Findings) -> list[str]:
    """What decontamination found of each benchmark's questions among the prompts, and where it could not look."""
    prompts = findings.metrics_of("prompts")
    lines = []
    for file, found in (prompts.get("contamination") or {}).items():
        what = "reported, but kept in training" if prompts.get("contaminated_kept") else "dropped"
        lines.append(
            f"{int(found['prompts']):,} of {prompts['loaded']:,} prompts share text with a question of {file} "
            f"({int(found['whole']):,} of them wholly) and were {what}; outputs/prompts/dropped.jsonl names each."
        )
    if findings.unchecked:
        names = ", ".join(findings.unchecked)
        lines.append(f"Not looked for among the prompts, for want of a file: the questions of {names}.")
    return lines


def _interval(score: Score) -> str:
    return f"{100 * score.low:.1f} – {100 * score.high:.1f}"


def _p_value(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
