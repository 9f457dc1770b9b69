"""Sections of the page that show the evidence: labels and samples."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from retort.report import words
from retort.report.charts import Series, histogram, line_chart
from retort.report.charts import percent as share
from retort.report.findings import Findings
from retort.report.formats import percent
from retort.report.html import figure, figures, paragraphs, table


def labels_section(findings: Findings) -> str:
    """How many prompts got a label, and how right the labels are."""
    labels = findings.labels
    if labels is None:
        return ""
    rows = [
        ["Prompts voted on", f"{labels.prompts:,}"],
        ["Labelled", f"{labels.labelled:,} ({percent(labels.coverage)})"],
        ["Abstained", f"{labels.abstained:,} ({percent(labels.abstained / labels.prompts)})"],
        ["Mean share of the winner", percent(labels.mean_share)],
        ["Mean margin over the runner-up", percent(labels.mean_margin)],
        ["Labels whose gold answer is known", f"{labels.known:,}"],
        ["Of those, right", percent(labels.accuracy)],
    ]
    votes = findings.metrics_of("votes")
    if isinstance(votes.get("sample_accuracy"), float):
        rows.append(["Single responses right, for comparison", percent(votes["sample_accuracy"])])
    if isinstance(votes.get("unparsed_share"), float):
        rows.append(["Responses without a readable answer", percent(votes["unparsed_share"])])
    curve = line_chart(
        [Series("labels right", [(point.coverage, point.accuracy) for point in labels.at_coverage], 1)],
        label="Accuracy of the pseudo-labels against the share of prompts labelled",
        x_label="prompts labelled",
        x_format=share,
        y_format=share,
        dots=True,
    )
    spread = histogram(
        [Series("prompts", labels.shares, 1)],
        label="Distribution of the winner's share of the votes",
        x_label="share of the responses that gave the winning answer",
        width=0.1,
        x_format=share,
    )
    return figures(
        table(["Pseudo-labels", ""], rows, kind="narrow"),
        _votes_by_number(votes),
        figure(
            "Accuracy at coverage",
            curve,
            "Each dot keeps only the labels with at least a certain share of the votes; the strictest is at the left.",
        ),
        figure("How united the votes are", spread, "Prompts by the winning answer’s share of the responses."),
    )


def _votes_by_number(votes: Mapping[str, Any]) -> str:
    curves = [
        Series(name, sorted((float(k), float(value)) for k, value in (votes.get(key) or {}).items()), colour)
        for name, key, colour in (("vote is right", "maj_at_k", 1), ("some response is right", "pass_at_k", 2))
    ]
    chart = line_chart(
        curves,
        label="Accuracy of a vote over k responses, and the share of prompts with any right response among k",
        x_label="responses",
        y_format=share,
        dots=True,
    )
    return figure(
        "What more responses buy",
        chart,
        "A vote over k responses beside the best it could do: some response among k being right.",
        legend=[(item.name, item.colour) for item in curves],
    )


def samples_section(findings: Findings, count: int) -> str:
    """Items on which the result and what it started from differ, then others, with both responses."""
    lines, found = findings.outline, words.changes(findings)
    if not found or not count:
        return ""
    mended, broken = found.get((False, True), []), found.get((True, False), [])
    same = found.get((True, True), []) + found.get((False, False), [])
    right, wrong = (len(found.get((both, both), [])) for both in (True, False))
    total = len(mended) + len(broken) + len(same)
    shown = mended[: -(-count // 2)] + broken[: max(count // 3, 1)]
    shown = (shown + same)[:count]
    before, after = words.start(findings), findings.final_model
    text = paragraphs(
        f"Of {total:,} items, {lines.short(after)} mended {len(mended):,} that {lines.the(before)} got wrong and broke "
        f"{len(broken):,} that it got right; {right:,} stayed right and {wrong:,} stayed wrong. "
        "Shown are the first of each kind, in the order of the test set."
    )
    names = (lines.label(before), lines.label(after))
    return text + "".join(_sample(findings, names, pair) for pair in shown)


def _mark(correct: bool) -> str:
    return '<span class="good">right</span>' if correct else '<span class="bad">wrong</span>'


def _sample(findings: Findings, names: tuple[str, str], pair: tuple[dict[str, Any], dict[str, Any]]) -> str:
    item, answer = pair[0]["item_id"], pair[0]["answer"]
    sides = "".join(
        f"<div><h4>{escape(name)}: {_mark(row['correct'])}</h4><pre>{escape(row['response']) or '(empty)'}</pre></div>"
        for name, row in zip(names, pair, strict=True)
    )
    return (
        f'<div class="sample"><p>{escape(findings.prompts.get(item, f"Item {item}"))} '
        f'<span class="soft">Gold answer: {escape(answer)}</span></p><div class="pair">{sides}</div></div>'
    )
