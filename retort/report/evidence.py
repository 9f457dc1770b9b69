"""Sections of the page that show the evidence: labels and samples."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from retort.config.run import TEACHER
from retort.report import words
from retort.report.charts import Series, histogram, line_chart
from retort.report.charts import percent as share
from retort.report.findings import Findings
from retort.report.formats import percent
from retort.report.html import figure, figures, paragraphs, table
from retort.report.reward import LearnedReward


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
    """Items that the result and what it started from answered differently, with every main model's response."""
    lines, found = findings.outline, words.changes(findings)
    if not found or not count:
        return ""
    mended, broken = found.get((False, True), []), found.get((True, False), [])
    same = found.get((True, True), []) + found.get((False, False), [])
    right, wrong = (len(found.get((both, both), [])) for both in (True, False))
    total = len(mended) + len(broken) + len(same)
    # Where both say the same there is nothing to see; such items come last.
    same.sort(key=lambda pair: pair[0]["response"] == pair[1]["response"])
    shown = mended[: -(-count // 2)] + broken[: max(count // 3, 1)]
    shown = (shown + same)[:count]
    before, after = words.start(findings), findings.final_model
    text = paragraphs(
        f"Of {total:,} items, {lines.short(after)} mended {len(mended):,} that {lines.the(before)} got wrong and broke "
        f"{len(broken):,} that it got right; {right:,} stayed right and {wrong:,} stayed wrong. "
        "Shown are the first of each kind, in the order of the test set; models that said the same share a box."
    )
    names = [name for name in dict.fromkeys([lines.base, TEACHER, before, after]) if findings.results.get(name)]
    answers = {name: {row["item_id"]: row for row in findings.results[name]} for name in names}
    return text + "".join(_sample(findings, answers, pair[0]["item_id"]) for pair in shown)


def reward_samples_section(findings: Findings, reward: LearnedReward) -> str:
    """Held-out responses that the reward model judged most wrongly, with their scores."""
    shown = [
        ("Scored highest of those that are wrong", reward.worst_high),
        ("Scored lowest of those that are right", reward.worst_low),
    ]
    parts = []
    for title, rows in shown:
        boxes = "".join(
            f"<div><h4>{escape(findings.outline.label(row['source']))}: {_mark(row['right'])}, "
            f"scored {row['score']:.3f}</h4>"
            f'<p class="soft">{escape(row["prompt"])}</p><pre>{escape(row["response"]) or "(empty)"}</pre></div>'
            for row in rows
        )
        parts += [f'<h3>{escape(title)}</h3><div class="pair">{boxes}</div>'] if boxes else []
    return "".join(parts)


def _mark(correct: bool) -> str:
    return '<span class="good">right</span>' if correct else '<span class="bad">wrong</span>'


def _sample(findings: Findings, answers: Mapping[str, Mapping[str, Mapping[str, Any]]], item: str) -> str:
    lines, said = findings.outline, dict[tuple[str, bool], list[str]]()
    answer = ""
    for name, rows in answers.items():
        if (row := rows.get(item)) is not None:
            answer = row["answer"]
            said.setdefault((row["response"], row["correct"]), []).append(name)
    sides = "".join(
        f"<div><h4>{escape(', '.join(lines.label(name) for name in names))}: {_mark(correct)}</h4>"
        f"<pre>{escape(response) or '(empty)'}</pre></div>"
        for (response, correct), names in said.items()
    )
    return (
        f'<div class="sample"><p>{escape(findings.prompts.get(item, f"Item {item}"))} '
        f'<span class="soft">Gold answer: {escape(answer)}</span></p><div class="pair">{sides}</div></div>'
    )
