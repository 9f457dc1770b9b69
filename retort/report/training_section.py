"""Section of the page on training: the curves of every student that its method wants shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from retort.report.charts import Series, line_chart, plain
from retort.report.charts import percent as share
from retort.report.curves import Curve
from retort.report.findings import Findings
from retort.report.html import escape, figure, figures, paragraphs
from retort.report.outline import Outline, Student
from retort.report.steps import kept_checkpoint

_COLOURS = 5


@dataclass(frozen=True)
class Look:
    """How a curve is drawn."""

    title: str
    caption: str = ""
    shares: bool = False
    """Whether its values are shares."""


def training_section(findings: Findings) -> str:
    """Each student's curves under its name; of a skipped student there are none."""
    shown = {name: _student(findings, student) for name, student in findings.outline.students.items()}
    shown = {name: inside for name, inside in shown.items() if inside}
    return "".join(f"<h3>{escape(findings.outline.label(name))}</h3>{inside}" for name, inside in shown.items())


def drawn(
    curves: Mapping[str, Curve], looks: Mapping[str, Look], *, of: str, mark: float | None, x_label: str
) -> list[str]:
    """One figure a curve.

    Args:
        curves: Points by name; those without any are left out.
        looks: How known curves are drawn; others have their name as title.
        of: Whose curves they are, for readers who cannot see them.
        mark: Step that was kept.
        x_label: What a step is.
    """
    found = []
    for number, (name, points) in enumerate((name, points) for name, points in curves.items() if points):
        look = looks.get(name.rsplit("/", 1)[-1]) or Look(_title(name))
        chart = line_chart(
            [Series(look.title, points, number % _COLOURS + 1)],
            label=f"{of}: {look.title} by {x_label}",
            x_label=x_label,
            x_mark=None if mark is None else (mark, "kept"),
            dots=len(points) <= 40,
            y_format=share if look.shares else plain,
        )
        found.append(figure(look.title, chart, look.caption))
    return found


def _student(findings: Findings, student: Student) -> str:
    lines, curves = findings.outline, findings.curves.get(student.name, {})
    wanted = (
        {name: found for name in student.curves if (found := _pick(curves, name))} if student.curves else dict(curves)
    )
    if not wanted:
        return ""
    kept = student.metrics.get("best_iteration")
    iterations = "iterations" in student.metrics
    text = ""
    if {"reward", "agreement"} <= set(wanted):
        text = (
            f"{lines.short(student.name)} follows {lines.reward_of(student.name)}; whether that is worth following "
            "shows in the agreement with the vote on prompts held out of training. Where the first rises and the "
            "second falls, the reward is being exploited. The checkpoint with the best agreement is kept."
        )
    looks = _looks(lines, student, learned=student.reward in findings.rewards)
    return paragraphs(text, kept_checkpoint(findings, student)) + figures(
        *drawn(
            wanted,
            looks,
            of=lines.label(student.name),
            mark=float(kept) if isinstance(kept, int) else None,
            x_label="iteration" if iterations else "optimizer step",
        )
    )


def _looks(lines: Outline, student: Student, *, learned: bool) -> dict[str, Look]:
    """How the curves that Retort's own methods write are drawn."""
    name = lines.short(student.name)
    verdict = f"What {name} optimises: {lines.reward_of(student.name)}’s verdict on its rollouts."
    return {
        "reward": Look("Learned reward" if learned else "Reward", verdict),
        "agreement": Look(
            "Agreement with the vote, held out",
            "What it is for: answers to held-out prompts that equal the pseudo-label.",
            shares=True,
        ),
        "kl": Look(f"KL to {lines.the(student.start)}", "Nats a response."),
        "entropy": Look("Entropy of the policy", "Nats a token."),
        "response_tokens": Look("Response length", "Tokens a response."),
        "loss": Look("Training loss", "Cross-entropy a response token." if student.method == "sft" else ""),
    }


def _pick(curves: Mapping[str, Curve], name: str) -> Curve:
    """The curve `name`, whatever folder it lies in."""
    return next((found for key, found in curves.items() if name in (key, key.rsplit("/", 1)[-1]) and found), [])


def _title(name: str) -> str:
    words = name.replace("/", ": ").replace("_", " ")
    return words[:1].upper() + words[1:]
