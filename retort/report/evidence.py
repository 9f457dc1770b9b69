"""Sections of the page that show the evidence: labels, training curves, samples."""

from __future__ import annotations

from html import escape
from typing import Any

from retort.report import words
from retort.report.charts import Series, histogram, line_chart, plain
from retort.report.charts import percent as share
from retort.report.curves import pick
from retort.report.findings import Findings
from retort.report.html import figure, figures, paragraphs, table
from retort.report.words import percent

_PPO_CURVES = (
    (
        "Learned reward",
        ("reward", "reward_mean", "mean_reward"),
        1,
        "What PPO optimises: the reward model’s verdict on its rollouts.",
    ),
    (
        "Agreement with the vote, held out",
        ("agreement", "validation_agreement"),
        2,
        "What it is for: answers to held-out prompts that equal the pseudo-label.",
    ),
    ("KL to the SFT student", ("kl",), 3, "Nats a response."),
    ("Entropy of the policy", ("entropy",), 4, "Nats a token."),
    ("Response length", ("response_tokens", "response_length"), 5, "Tokens a response."),
)


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
    votes = findings.stages.get("votes", {})
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


def _votes_by_number(votes: dict[str, Any]) -> str:
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


def curves_section(findings: Findings) -> str:
    """PPO's reward beside what it is for, then the rest of its curves and SFT's loss."""
    ppo, sft = findings.curves.get("ppo", {}), findings.curves.get("sft", {})
    kept = findings.stages.get("ppo", {}).get("best_iteration")
    mark = (float(kept), "kept") if isinstance(kept, int) else None
    drawn = []
    for title, names, colour, caption in _PPO_CURVES:
        curve = pick(ppo, *names)
        chart = line_chart(
            [Series(title, curve, colour)],
            label=f"PPO: {title} by iteration",
            x_label="iteration",
            x_mark=mark if curve else None,
            dots=len(curve) <= 40,
            y_format=share if "agreement" in names else plain,
        )
        drawn.append(figure(title, chart, caption))
    loss = pick(sft, "loss")
    text = paragraphs(
        "PPO follows the learned reward; whether that is worth following shows in the agreement with the vote on "
        "prompts held out of training. Where the first rises and the second falls, the reward model is being "
        "exploited. The checkpoint with the best agreement is kept."
        if any(drawn)
        else "",
        words.kept_checkpoint(findings) if any(drawn) else "",
    )
    sft_figure = figure(
        "SFT: training loss",
        line_chart([Series("loss", loss, 1)], label="SFT training loss by step", x_label="optimizer step"),
        "Cross-entropy a response token.",
    )
    return text + figures(*drawn, sft_figure)


def samples_section(findings: Findings, count: int) -> str:
    """Items on which the SFT and the PPO student differ, then others, with both responses."""
    found = words.changes(findings)
    if findings.gate_passed is False or not found or not count:
        return ""
    mended, broken = found.get((False, True), []), found.get((True, False), [])
    same = found.get((True, True), []) + found.get((False, False), [])
    right, wrong = (len(found.get((both, both), [])) for both in (True, False))
    total = len(mended) + len(broken) + len(same)
    shown = mended[: -(-count // 2)] + broken[: max(count // 3, 1)]
    shown = (shown + same)[:count]
    text = paragraphs(
        f"Of {total:,} items, PPO mended {len(mended):,} that the SFT student got wrong and broke {len(broken):,} that "
        f"it got right; {right:,} stayed right and {wrong:,} stayed wrong. "
        "Shown are the first of each kind, in the order of the test set."
    )
    return text + "".join(_sample(findings, before, after) for before, after in shown)


def _mark(correct: bool) -> str:
    return '<span class="good">right</span>' if correct else '<span class="bad">wrong</span>'


def _sample(findings: Findings, before: dict[str, Any], after: dict[str, Any]) -> str:
    prompt = findings.prompts.get(before["item_id"], f"Item {before['item_id']}")
    sides = "".join(
        f"<div><h4>{name}: {_mark(row['correct'])}</h4><pre>{escape(row['response']) or '(empty)'}</pre></div>"
        for name, row in (("SFT student", before), ("PPO student", after))
    )
    return (
        f'<div class="sample"><p>{escape(prompt)} <span class="soft">Gold answer: {escape(before["answer"])}</span></p>'
        f'<div class="pair">{sides}</div></div>'
    )
