"""What to do next, by rule: each sentence names the figure that calls for it and the setting that may mend it."""

from __future__ import annotations

import math
from collections.abc import Iterator

from retort.config.run import TEACHER
from retort.report.curves import Curve
from retort.report.findings import Findings
from retort.report.formats import percent, points
from retort.report.outline import Student
from retort.report.words import start

CUT_OFF, UNPARSED, ABSTAINED, TOO_LONG = 0.02, 0.05, 0.4, 0.05
"""Shares above which it is worth doing something: of responses cut off or not read, prompts without label, examples."""
FALLING = 0.02
"""Fall of a training loss between the last two eighths of its steps, as a share, that shows it has not levelled off."""
_FEWEST_POINTS = 16


def advice(findings: Findings) -> list[str]:
    """Sentences, the most pressing first; what to do with the student last."""
    found = [
        *_gates(findings),
        *_labels(findings),
        *_responses(findings),
        *(line for student in findings.outline.line if not student.skipped for line in _training(findings, student)),
        *_items(findings),
    ]
    return [*dict.fromkeys(found), *_student(findings)]


def _gates(findings: Findings) -> Iterator[str]:
    for name, reward in findings.rewards.items():
        if reward.gate_passed is False:
            n = reward.metrics.get("train_examples") or findings.metrics_of(f"reward_data-{name}").get("train")
            learnt = f" It learned from {n:,} labelled responses." if isinstance(n, int) else ""
            yield (
                f"{reward.words[:1].upper()}{reward.words[1:]} did not pass its gate: give it more labelled responses "
                f"(more prompts, or more samples in teacher_responses and student_responses) or more steps."
                f"{learnt} Lower its bounds only where you know that a weaker one does no harm."
            )


def _labels(findings: Findings) -> Iterator[str]:
    labels = findings.labels
    if labels is None:
        return
    missing = labels.abstained / labels.prompts
    if missing > ABSTAINED:
        yield (
            f"{percent(missing)} of the prompts have no label: sample more responses a prompt "
            "(teacher_responses.samples), or take a teacher that answers these prompts more surely."
        )
    alone = findings.metrics_of("votes").get("sample_accuracy")
    if labels.accuracy is not None and isinstance(alone, float) and labels.accuracy <= alone:
        yield (
            f"The labels are right in {percent(labels.accuracy)}, single responses in {percent(alone)}: the vote adds "
            "nothing here. Sample at a higher temperature, or look at how answers are read."
        )
    unread = findings.metrics_of("votes").get("unparsed_share")
    if isinstance(unread, float) and unread > UNPARSED:
        yield (
            f"No answer could be read from {percent(unread)} of the teacher's responses: ask for the answer in a form "
            "that is read (prompts.system, prompts.template), or set `answer` to the kind that they have."
        )


def _responses(findings: Findings) -> Iterator[str]:
    for name, score in findings.primary.models.items():
        who = findings.outline.the(name)
        if name not in (findings.final_model, TEACHER):
            continue
        if score.cut_off_rate > CUT_OFF:
            yield (
                f"{percent(score.cut_off_rate)} of the responses of {who} were cut off: raise "
                "evaluate.max_new_tokens, and teacher_responses.max_new_tokens where the teacher's are."
            )
        if score.unparsed_rate - score.cut_off_rate > UNPARSED:
            yield (
                f"No answer could be read from {percent(score.unparsed_rate)} of the responses of {who}: see them in "
                f"outputs/evaluate/{name}-{findings.primary.name}.parquet."
            )


def _training(findings: Findings, student: Student) -> Iterator[str]:
    name, metrics = findings.outline.short(student.name), student.metrics
    loss = _loss(findings, student)
    steps, best = metrics.get("steps"), metrics.get("best_iteration")
    if student.compute_of is None and isinstance(steps, int) and best is None and (fall := _fall(loss)) > FALLING:
        yield (
            f"The loss of {name} was still falling when it ended (by {percent(fall)} over its last steps): "
            f"raise {student.method}.steps."
        )
    if (long := metrics.get("too_long")) and long > TOO_LONG * (long + (metrics.get("examples") or 0)):
        yield f"{long:,} examples were too long for {name}: raise {student.method}.max_length."
    iterations = metrics.get("iterations")
    if best == 0 and iterations:
        yield (
            f"{name} never came to agree better with the vote than what it started from: try a smaller "
            f"{student.method}.learning_rate, or a better reward."
        )
    elif iterations and best == iterations:
        yield (
            f"{name} was still getting better when it ended: its last checkpoint is the kept one. "
            f"Raise {student.method}.iterations."
        )


def _loss(findings: Findings, student: Student) -> Curve:
    curves = findings.curves.get(student.name, {})
    return next((points for name, points in curves.items() if name.rsplit("/", 1)[-1] == "loss"), [])


def _fall(loss: Curve) -> float:
    """How much a curve fell from the last but one eighth of its points to the last one, as a share; 0 where few."""
    if len(loss) < _FEWEST_POINTS:
        return 0.0
    size = len(loss) // 8
    last, before = (sum(y for _, y in part) / size for part in (loss[-size:], loss[-2 * size : -size]))
    return (before - last) / before if before > 0 else 0.0


def _items(findings: Findings) -> Iterator[str]:
    """How many items would decide what these could not."""
    result, before = findings.final_model, start(findings)
    pair = findings.primary.paired.get((result, before))
    if pair is None or pair.verdict != "open" or not pair.difference:
        return
    needed = math.ceil(pair.n * (pair.minimum_detectable_difference / pair.difference) ** 2)
    lines = findings.outline
    if pair.n < needed <= 100 * pair.n:
        digits = 10 ** (len(f"{needed}") - 2)
        yield (
            f"{lines.short(result)} and {lines.the(before)} differ by {points(pair.difference)} points, which "
            f"{pair.n:,} items cannot tell from chance; about {math.ceil(needed / digits) * digits:,} could, if the "
            "difference is true."
        )


def _student(findings: Findings) -> Iterator[str]:
    lines = findings.outline
    pair = findings.primary.paired.get((findings.final_model, lines.base))
    if findings.final_model not in lines.students:
        return
    if pair is not None and pair.verdict == "above":
        yield (
            "The student is better than what it was made from: look at its responses (`retort chat`), hand it over "
            "(`retort export`), or let it become champion (`retort promote`)."
        )
    elif pair is not None:
        yield "The student is not shown to be better than what it was made from: do not use it as it is."
