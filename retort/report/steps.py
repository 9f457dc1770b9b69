"""What a run did, step by step, with its own numbers."""

from __future__ import annotations

from collections.abc import Iterator

from retort.config.run import TEACHER
from retort.config.students import method_words
from retort.report.findings import Findings
from retort.report.formats import joined, percent
from retort.report.outline import Student
from retort.report.probes import probes
from retort.report.reward import LearnedReward


def steps(findings: Findings) -> list[str]:
    """Sentences in the order of the work: prompts, responses, labels, then each student after what it is made from."""
    return [*_data(findings), *_training(findings)]


def _data(findings: Findings) -> Iterator[str]:
    prompts = findings.metrics_of("prompts")
    if "train" in prompts:
        yield f"{prompts['train']:,} training prompts were left after cleaning and decontamination."
    if responses := _responses(findings, TEACHER):
        yield f"The teacher wrote {responses:,} responses."
    if unlabelled := prompts.get("unlabelled"):
        answered = prompts["train"] + prompts.get("validation", 0)
        spared = _spared(findings, answered, unlabelled)
        yield f"It was not asked about {unlabelled:,} more prompts, which cost nothing of it{spared}."
    yield from probes(findings)
    if (labels := findings.labels) is not None:
        who = "An LLM judge" if "figures" in findings.metrics_of("votes") else "A majority vote"
        words = f"{who} gave {percent(labels.coverage)} of {labels.prompts:,} prompts a pseudo-label"
        if labels.accuracy is not None:
            words += (
                f"; checked afterwards against the gold answers, {percent(labels.accuracy)} of those labels are right"
            )
        yield words + ". Gold answers took no part in training."


def _spared(findings: Findings, answered: int, unlabelled: int) -> str:
    """What the teacher's answers to the prompts that it never saw would have taken, at what the others took."""
    for measured in findings.stages.values():
        if measured.answered_by == TEACHER and "model" not in measured.values:
            parts = [measured.metrics.get(key) for key in ("prompt_tokens", "response_tokens")]
            tokens = sum(part for part in parts if isinstance(part, int))
            if tokens:
                return f"; answers to those would have taken about {tokens * unlabelled / answered:,.0f} tokens more"
    return ""


def _training(findings: Findings) -> list[str]:
    """Students and learned rewards, each after what it needs, whatever their order in the configuration."""
    lines, told, found = findings.outline, set[str](), list[str]()

    def tell(name: str) -> None:
        if name in told:
            return
        told.add(name)
        if (student := lines.students.get(name)) is not None:
            for other in (student.wanted, student.compute_of, student.reward):
                if other is not None:
                    tell(other)
            found.extend(_student(findings, student))
        elif (reward := findings.rewards.get(name)) is not None:
            for source in reward.metrics.get("by_source") or {}:
                tell(source)
            found.append(_reward(findings, reward))

    for name in [*lines.students, *findings.rewards]:
        tell(name)
    return found


def _student(findings: Findings, student: Student) -> Iterator[str]:
    lines = findings.outline
    if student.skipped:
        stopped = "stopped the run here" if len(lines.students) == 2 else "stopped a student here"
        yield (
            f"The gate {stopped}: {lines.short(student.name)} against a reward model this weak would be learning its "
            "mistakes."
        )
        return
    yield " ".join(
        part
        for part in (
            _trained(findings, student),
            _extra(findings, student),
            _unanswered(student),
            kept_checkpoint(findings, student),
        )
        if part
    )
    if too_long := student.metrics.get("too_long"):
        yield f"{too_long:,} examples were too long for {lines.the(student.name)} to be trained on."
    yield from (f"Alarm in {lines.short(student.name)}, {alarm}" for alarm in student.metrics.get("alarms") or [])


def _trained(findings: Findings, student: Student) -> str:
    """What its method did to make it; a method of a user's own says so itself, in its summary."""
    lines = findings.outline
    before = lines.the(student.start)
    name = lines.short(student.name)
    if student.method == "sft":
        given = f", with the compute of {lines.short(student.compute_of)} as well" if student.compute_of else ""
        return (
            f"{before[:1].upper()}{before[1:]} was fine-tuned on the teacher's responses that agree with the "
            f"vote{given} ({name})."
        )
    if student.method == "ppo":
        reward = lines.reward_of(student.name)
        return f"{name} refined {before} against {reward}, held close to {before} by a KL penalty."
    label = lines.label(student.name)
    against = f" against {lines.reward_of(student.name)}" if student.reward is not None else ""
    also = f" with the compute of {lines.short(student.compute_of)} as well" if student.compute_of else ""
    summary = f" {student.summary}" if student.summary else ""
    by = method_words(student.method)
    return f"{label}: {by} from {before}{against}{also}.{summary}"


def _extra(findings: Findings, student: Student) -> str:
    """What another student's compute paid for, and whether the bound on it was reached."""
    unit = "iterations" if "extra_iterations" in student.metrics else "steps"
    extra = student.metrics.get(f"extra_{unit}")
    if student.compute_of is None or not isinstance(extra, int):
        return ""
    bound = ", all that max_extra_steps lets it have, which is less than that compute"
    text = f"The compute of {findings.outline.short(student.compute_of)} gave it {extra:,} more {unit}"
    return f"{text}{bound if student.metrics.get('capped') else ''}."


def _unanswered(student: Student) -> str:
    """How much of what it was trained on the teacher never answered."""
    unlabelled, episodes = student.metrics.get("unlabelled_episodes"), student.metrics.get("episodes")
    if not unlabelled or not episodes:
        return ""
    return f"The teacher had never answered the prompts of {unlabelled:,} of its {episodes:,} episodes."


def _reward(findings: Findings, reward: LearnedReward) -> str:
    lines = findings.outline
    named = "A reward model" if len(findings.rewards) == 1 else f"{reward.words[:1].upper()}{reward.words[1:]}"
    sources = list(reward.metrics.get("by_source") or {})
    students = [name for name in sources if name in lines.students]
    written = sum(_responses(findings, name) or 0 for name in students)
    words = f"{named} learned to tell agreeing responses from others, from teacher and student responses alike"
    if sources and TEACHER not in sources:
        words = words.replace("teacher and student responses alike", "students' responses")
    elif sources and not students:
        words = words.replace("teacher and student responses alike", "the teacher's responses")
    if written:
        whose = (
            "the student's own"
            if len(students) == 1
            else f"the students' own: {joined([lines.short(n) for n in students])}"
        )
        words += f" ({written:,} of {whose})"
    if reward.auc is not None:
        words += f"; on held-out prompts its AUC is {reward.auc:.3f}"
    return words + "."


def kept_checkpoint(findings: Findings, student: Student) -> str:
    """Which checkpoint is the student and how far it agrees with the vote on held-out prompts; empty if unsaid."""
    kept, last = student.metrics.get("best_iteration"), student.metrics.get("iterations")
    if kept is None or not last:
        return ""
    if kept == 0:
        return f"None of its {last} iterations agreed better with the vote on held-out prompts: it changed nothing."
    text = f"Of {last} iterations the policy after number {kept} is kept"
    first, best = student.metrics.get("first_agreement"), student.metrics.get("best_agreement")
    if first is not None and best is not None:
        before = findings.outline.the(student.start)
        text += f": it agrees with the vote on {percent(best)} of held-out prompts, {before} on {percent(first)}"
    return text + (". Training stopped early." if student.metrics.get("stopped_early") else ".")


def _responses(findings: Findings, model: str) -> int | None:
    """How many responses to training prompts a model gave."""
    for measured in findings.stages.values():
        found = measured.metrics.get("responses")
        if measured.answered_by == model and isinstance(found, int):
            return found
    return None
