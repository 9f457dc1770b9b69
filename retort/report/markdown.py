"""The report as Markdown: only what the versioned inputs determine, so that the same run gives the same bytes."""

from __future__ import annotations

from collections.abc import Sequence

from retort.report import words
from retort.report.costs import costs
from retort.report.findings import ORDER, Benchmark, Findings
from retort.report.words import NAMES, percent


def render_markdown(findings: Findings) -> str:
    """The whole report as text."""
    parts = [f"# {findings.title}", words.headline(findings)]
    if findings.gate_passed is False:
        parts += ["**The reward model did not pass its gate; PPO was skipped.**", *words.gate_reasons(findings)]
    for benchmark in findings.shown:
        parts += [f"## Results on {benchmark.name}", result_table(benchmark), pair_table(benchmark)]
    parts += [
        "## What was done",
        "\n".join(f"{number}. {step}" for number, step in enumerate(words.method(findings), 1)),
    ]
    parts += [
        "## The claim",
        "\n".join(f"- {line}" for line in words.claim(findings)),
        _labels(findings),
        _reward(findings),
        _cost(findings),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def result_table(benchmark: Benchmark) -> str:
    """Accuracy of every model with its interval."""
    rows = []
    for name in (name for name in ORDER if name in benchmark.models):
        score = benchmark.models[name]
        interval = f"{100 * score.low:.1f} – {100 * score.high:.1f}"
        rows.append(
            [
                NAMES[name],
                percent(score.accuracy),
                interval,
                percent(score.unparsed_rate),
                f"{score.mean_response_tokens:.1f}",
                f"{score.n}",
            ]
        )
    return table(["Model", "Accuracy", "95 % interval", "Unparsed", "Tokens a response", "n"], rows)


def pair_table(benchmark: Benchmark) -> str:
    """Paired differences in percentage points."""
    rows = [
        [
            words.pair_name(key),
            words.points(pair.difference),
            f"{words.points(pair.low)} to {words.points(pair.high)}",
            f"{pair.n}",
        ]
        for key, pair in benchmark.paired.items()
    ]
    return table(["Paired difference", "Points", "95 % interval", "n"], rows) if rows else ""


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
    metrics = findings.stages.get("reward", {})
    groups = {**(metrics.get("by_source") or {}), "all, against gold answers": metrics.get("truth")}
    rows = [
        [
            name,
            f"{found['n']}",
            *(words.decimals(found[key]) for key in ("auc", "accuracy", "brier", "calibration_error")),
        ]
        for name, found in groups.items()
        if found
    ]
    head = ["Held-out responses", "n", "AUC", "Accuracy", "Brier score", "Calibration error"]
    return "## Reward model\n\n" + table(head, rows) if rows else ""


def _cost(findings: Findings) -> str:
    rows = [
        [row.stage, "–" if row.tokens is None else f"{row.tokens}", words.flops(row.flops)]
        for row in costs(findings.stages)
    ]
    return "## Cost\n\n" + table(["Stage", "Tokens", "FLOPs"], rows) if rows else ""
