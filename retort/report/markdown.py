"""The report as Markdown: only what the versioned inputs determine, so that the same run gives the same bytes."""

from __future__ import annotations

from collections.abc import Sequence

from retort.report import words
from retort.report.costs import costs
from retort.report.findings import Findings
from retort.report.formats import flops, percent
from retort.report.outline import Outline
from retort.report.results import comparison_columns, kept_out, pair_columns, result_columns, rows_of
from retort.report.reward import HEAD, reward_rows
from retort.report.scores import Benchmark
from retort.report.steps import steps


def render_markdown(findings: Findings) -> str:
    """The whole report as text."""
    lines, benchmarks = findings.outline, findings.benchmarks
    parts = [f"# {findings.title}", words.headline(findings)]
    parts += [f"**{notice}**" for notice in words.notices(findings)]
    parts += [f"- {reason}" for student in lines.skipped for reason in student.reasons]
    if len(benchmarks) > 1:
        parts += ["## Models by benchmark", table(*rows_of(comparison_columns(benchmarks, lines)))]
    for benchmark in benchmarks:
        parts += [f"## Results on {benchmark.name}", result_table(benchmark, lines), pair_table(benchmark, lines)]
    parts += [
        "## What was done",
        "\n".join(f"{number}. {step}" for number, step in enumerate(steps(findings), 1)),
        "## The claim",
        "\n".join(f"- {line}" for line in words.claims(findings)),
        "\n".join(f"- {line}" for line in kept_out(findings)),
        _labels(findings),
        *(_reward(findings, name) for name in findings.rewards),
        _cost(findings),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def result_table(benchmark: Benchmark, lines: Outline) -> str:
    """Accuracy of every model with its interval."""
    return table(*rows_of(result_columns(benchmark, lines)))


def pair_table(benchmark: Benchmark, lines: Outline) -> str:
    """Paired differences in percentage points."""
    return table(*rows_of(pair_columns(benchmark, lines))) if benchmark.paired else ""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column at the left, numbers at the right."""
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    return "\n".join(lines + ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows])


def _labels(findings: Findings) -> str:
    labels = findings.labels
    if labels is None:
        return ""
    rows = [
        [percent(point.share), percent(point.coverage), percent(point.accuracy), f"{point.n}"]
        for point in labels.at_coverage
    ]
    text = f"## Pseudo-labels\n\n{labels.labelled} of {labels.prompts} prompts labelled "
    text += f"({percent(labels.coverage)}), {labels.abstained} abstained; "
    text += f"right where known: {percent(labels.accuracy)} of {labels.known}."
    return text + (
        "\n\n" + table(["Share of votes at least", "Prompts labelled", "Labels right", "n"], rows) if rows else ""
    )


def _reward(findings: Findings, name: str) -> str:
    reward = findings.rewards[name]
    rows = reward_rows(reward.metrics, findings.outline.inside)
    title = reward.words.removeprefix("the ")
    return f"## {title[:1].upper()}{title[1:]}\n\n" + table(HEAD, rows) if rows else ""


def _cost(findings: Findings) -> str:
    rows = [
        [row.name, "–" if row.tokens is None else f"{row.tokens}", flops(row.flops or None)]
        for row in costs(findings.stages)
    ]
    return "## Cost\n\n" + table(["Stage", "Tokens", "FLOPs"], rows) if rows else ""
