"""The report's sentences on what came of a run, for page, Markdown, card and terminal: headline, claims, notices."""

from __future__ import annotations

from typing import Any

from retort.config.run import TEACHER
from retort.config.students import method_words
from retort.report.findings import Findings
from retort.report.formats import bracketed, joined, percent
from retort.report.outline import Pair, Student
from retort.report.scores import Paired


def difference(pair: Paired) -> str:
    """A paired difference with its interval: `+2.1 [+0.8, +3.4]`."""
    return bracketed(pair.difference, pair.low, pair.high)


def headline(findings: Findings) -> str:
    """The result in one sentence, and one more for each reason not to be content with it."""
    lines, models = findings.outline, findings.primary.models
    result = findings.final_model
    if result not in models:
        return "The final student was not evaluated."
    shown = lines.the(result)
    text = f"{_upper(shown)} answers {percent(models[result].accuracy)} of {models[result].n:,} held-out items right"
    beside = dict.fromkeys([lines.base, start(findings), TEACHER])
    others = [
        f"{lines.the(name)} {percent(models[name].accuracy)}" for name in beside if name in models and name != result
    ]
    text += f"; {joined(others)}." if others else "."
    if findings.gate_passed is False:
        skipped = [student for student in lines.line if student.skipped]
        return " ".join([text, *(_skipped_shortly(findings, student) for student in skipped), *_worth(findings)])
    return " ".join([text + _outcome(findings), *_worth(findings)])


def claims(findings: Findings) -> list[str]:
    """Whether what was hoped for held on the primary benchmark, one sentence for each comparison."""
    lines, paired = findings.outline, findings.primary.paired
    sentences = [_skipped(findings, student) for student in lines.skipped]
    for pair in lines.claims:
        if (found := paired.get(pair)) is not None:
            words = f"{_upper(_claim(findings, pair))}: {_verdict(found)}"
            sentences.append(
                f"{words} (difference {difference(found)} points, n = {found.n:,}).{_capped(findings, pair)}"
            )
    if lines.result in findings.primary.models and lines.base not in findings.primary.models:
        sentences.append(f"Whether it is better than {lines.the(lines.base)} is not known: that was not evaluated.")
    return sentences


def notices(findings: Findings) -> list[str]:
    """What must be seen first: a result that is no better than its base, students that a gate stopped, alarms."""
    return [*_worth(findings), *gate_notices(findings), *findings.alarms]


def gate_notices(findings: Findings) -> list[str]:
    """Students that a gate stopped, and what is the result instead."""
    lines, found = findings.outline, []
    for student in lines.skipped:
        name, reward = lines.short(student.name), _upper(lines.reward_of(student.name))
        words = f"{reward} did not pass its gate. {name} was skipped"
        # Only the result's own line decides what the result is.
        own = student in lines.line and findings.final_model != lines.final
        found.append(f"{words}, and {lines.the(findings.final_model)} is this run’s result." if own else f"{words}.")
    return found


def start(findings: Findings) -> str:
    """What the result was trained from."""
    lines = findings.outline
    return lines.students[lines.result].start if lines.result in lines.students else lines.result


def changes(findings: Findings) -> dict[tuple[bool, bool], list[tuple[dict[str, Any], dict[str, Any]]]]:
    """Items by (right before, right after) of what the result started from and of the result, in the table's order."""
    after = {row["item_id"]: row for row in findings.results.get(findings.final_model, [])}
    found: dict[tuple[bool, bool], list[tuple[dict[str, Any], dict[str, Any]]]] = {}
    for row in findings.results.get(start(findings), []):
        if (other := after.get(row["item_id"])) is not None:
            found.setdefault((row["correct"], other["correct"]), []).append((row, other))
    return found


def _outcome(findings: Findings) -> str:
    """How the result compares with what it started from and with the teacher."""
    lines, paired, result = findings.outline, findings.primary.paired, findings.final_model
    if (first := paired.get((result, start(findings)))) is None:
        return ""
    name, before = lines.short(result), lines.short(start(findings))
    text = {
        "above": f"{name} improved on {before}",
        "below": f"{name} made the student worse than {before}",
        "open": f"{name} and {before} cannot be told apart",
    }[first.verdict]
    if (second := paired.get((result, TEACHER))) is not None:
        beside = {
            "above": "the student passed its teacher",
            "below": "the student stays below its teacher",
            "open": "the student and its teacher cannot be told apart",
        }
        text += f", and {beside[second.verdict]}"
    return f" {text}."


def better_than_base(findings: Findings) -> bool | None:
    """Whether the result is shown to be better than the model that all the work began with; None where not measured."""
    lines = findings.outline
    if lines.result == lines.base:
        return False
    pair = findings.primary.paired.get((lines.result, lines.base))
    return None if pair is None else pair.verdict == "above"


def _worth(findings: Findings) -> list[str]:
    """A sentence where the result is not better than its base."""
    lines = findings.outline
    pair = findings.primary.paired.get((lines.result, lines.base))
    if pair is None or pair.verdict == "above":
        return []
    what = "is worse than" if pair.verdict == "below" else "cannot be shown to be better than"
    return [
        f"The result {what} {lines.the(lines.base)} that it was made from (difference {difference(pair)} points): "
        "nothing speaks for using it."
    ]


def _claim(findings: Findings, pair: Pair) -> str:
    """What a comparison was hoped to show."""
    lines, (first, second) = findings.outline, pair
    students = lines.students
    name, other = lines.short(first), lines.short(second)
    subject = "the student" if first == lines.result else lines.the(first)
    if second in students and students[second].compute_of == first:
        return f"{name} is worth more than its compute spent on {method_words(students[second].method)}"
    if first in students and second == students[first].start:
        return f"{name} improves on {other}"
    if second == TEACHER:
        return f"{subject} passes {'its' if first == lines.result else 'the'} teacher"
    return f"{subject} is better than {lines.the(second)}"


def _capped(findings: Findings, pair: Pair) -> str:
    baseline = findings.outline.students.get(pair[1])
    if baseline is None or baseline.compute_of is None or not baseline.metrics.get("capped"):
        return ""
    return (
        f" {_upper(findings.outline.the(pair[1]))} reached its max_extra_steps, so it was given less than that compute."
    )


def _skipped_shortly(findings: Findings, student: Student) -> str:
    lines = findings.outline
    return f"{lines.short(student.name)} was skipped: {lines.reward_of(student.name)} did not pass its gate."


def _skipped(findings: Findings, student: Student) -> str:
    lines = findings.outline
    name, before = lines.short(student.name), lines.short(student.start)
    words = f"{_upper(lines.reward_of(student.name))} did not pass its gate, so {name} did not run"
    if student in lines.line and findings.final_model != lines.final:
        words += f" and {lines.the(findings.final_model)} is the result"
    return f"{words}. The claim that {name} improves on {before} was not put to the test."


def _verdict(pair: Paired) -> str:
    return {"above": "held", "below": "did not hold", "open": "not decided, the interval contains zero"}[pair.verdict]


def _upper(words: str) -> str:
    """At the start of a sentence; a name keeps its spelling."""
    return f"The {words.removeprefix('the ')}" if words.startswith("the ") else words
