"""The report as Markdown: only what the versioned inputs determine, so that the same run gives the same bytes."""

from __future__ import annotations

from collections.abc import Sequence

from retort.report import words
from retort.report.costs import costs
from retort.report.findings import Findings
from retort.report.results import comparison_columns, kept_out, pair_columns, result_columns, rows_of
from retort.report.reward_section import HEAD, reward_rows
from retort.report.scores import Benchmark
from retort.report.words import percent


def render_markdown(findings: Findings) -> str:
    """The whole report as text."""
    parts = [f"# {findings.title}", words.headline(findings)]
    if findings.gate_passed is False:
        parts += ["**The reward model did not pass its gate; PPO was skipped.**", *words.gate_reasons(findings)]
    if len(findings.shown) > 1:
        parts += ["## Models by benchmark", table(*rows_of(comparison_columns(findings.shown)))]
    for benchmark in findings.shown:
        parts += [f"## Results on {benchmark.name}", result_table(benchmark), pair_table(benchmark)]
    parts += [
        "## What was done",
        "\n".join(f"{number}. {step}" for number, step in enumerate(words.method(findings), 1)),
    ]
    parts += [
        "## The claim",
        "\n".join(f"- {line}" for line in words.claim(findings)),
        "\n".join(f"- {line}" for line in kept_out(findings)),
        _labels(findings),
        _reward(findings),
        _cost(findings),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def result_table(benchmark: Benchmark) -> str:
    """Accuracy of every model with its interval."""
    return table(*rows_of(result_columns(benchmark)))


def pair_table(benchmark: Benchmark) -> str:
    """Paired differences in percentage points."""
    return table(*rows_of(pair_columns(benchmark))) if benchmark.paired else ""


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


def _reward(findings: Findings) -> str:
    rows = reward_rows(findings.stages.get("reward", {}))
    return "## Reward model\n\n" + table(HEAD, rows) if rows else ""


def _cost(findings: Findings) -> str:
    rows = [
        [row.stage, "–" if row.tokens is None else f"{row.tokens}", words.flops(row.flops)]
        for row in costs(findings.stages)
    ]
    return "## Cost\n\n" + table(["Stage", "Tokens", "FLOPs"], rows) if rows else ""
