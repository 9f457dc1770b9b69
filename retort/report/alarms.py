"""Signs that a run's samples, labels or answers cannot be what they are taken for, whatever its accuracies say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from retort.config.data import ReportAlarmsConfig
from retort.config.run import TEACHER
from retort.evaluation.statistics import wilson_interval
from retort.report.formats import percent
from retort.report.labels import LabelQuality
from retort.report.outline import Outline
from retort.report.scores import Score
from retort.report.stage_metrics import Measured

_KNOWN = 20
"""Labels with a gold answer below which their accuracy says nothing."""
_NEAR_NONE = 0.05
"""Accuracy of labels that no vote of readable answers has unless something does not belong together."""


def alarms(
    lines: Outline,
    stages: Mapping[str, Measured],
    labels: LabelQuality | None,
    scores: Mapping[str, Score],
    limits: ReportAlarmsConfig,
) -> list[str]:
    """Sentences, each with what to look at.

    Args:
        lines: What the run's models are called, and which is its result.
        stages: Metrics by group of tasks.
        labels: The vote's labels, where there are any.
        scores: Scores on the primary benchmark by model.
        limits: Shares beyond which there is an alarm.
    """
    votes = next((one.metrics for one in stages.values() if one.stage.name == "votes"), {})
    return [
        *_responses(lines, stages, limits),
        *(_labels(labels, votes, limits) if labels is not None else ()),
        *_answers(lines, scores, limits),
    ]


def _responses(lines: Outline, stages: Mapping[str, Measured], limits: ReportAlarmsConfig) -> Iterator[str]:
    """Samples to training prompts: all alike, or the teacher's cut off."""
    for one in stages.values():
        if one.answered_by is None or "model" in one.values:
            continue
        whose = lines.the(one.answered_by)
        alike, cut_off = one.metrics.get("identical_share"), one.metrics.get("cut_off_rate")
        if isinstance(alike, float) and alike > limits.identical:
            yield (
                f"The samples of {whose} to {percent(alike)} of the prompts are all the same, though they were drawn "
                "at a temperature above 0: neither a vote over them nor their agreement says anything. See whether its "
                "engine or server honours temperature and seed."
            )
        # A student's own cut-off samples are taught to the reward model, which is what they are for.
        if one.answered_by == TEACHER and isinstance(cut_off, float) and cut_off > limits.cut_off:
            yield (
                f"{percent(cut_off)} of the responses of {whose} were cut off, and so had no vote. Raise "
                "teacher_responses.max_new_tokens, or check its chat template and end token."
            )


def _labels(labels: LabelQuality, votes: Mapping[str, Any], limits: ReportAlarmsConfig) -> Iterator[str]:
    if labels.coverage < limits.coverage:
        yield (
            f"Only {percent(labels.coverage)} of {labels.prompts:,} prompts have a pseudo-label; the vote abstained on "
            "the others. Sample more responses, or loosen votes.min_share and votes.min_margin."
        )
    unread = votes.get("unparsed_share")
    if isinstance(unread, float) and unread > limits.unread:
        yield (
            f"No answer could be read in {percent(unread)} of the teacher's responses. Check that `answer` names the "
            "kind of answer that it gives, and read a few."
        )
    if labels.accuracy is None or labels.known < _KNOWN:
        return
    single = votes.get("sample_accuracy")
    if labels.accuracy < _NEAR_NONE:
        yield (
            f"Of {labels.known:,} pseudo-labels whose gold answer is known, {percent(labels.accuracy)} are right: the "
            "teacher's answers, how they are read and the gold answers do not belong together, or it cannot do this."
        )
    elif isinstance(single, float) and wilson_interval(round(labels.accuracy * labels.known), labels.known)[1] < single:
        yield (
            f"The pseudo-labels are right in {percent(labels.accuracy)} of {labels.known:,} known cases, single "
            f"responses in {percent(single)}: the vote makes answers worse. Its samples share their errors."
        )


def _answers(lines: Outline, scores: Mapping[str, Score], limits: ReportAlarmsConfig) -> Iterator[str]:
    """Answers of the result to the primary benchmark."""
    score = scores.get(lines.result)
    if score is None:
        return
    whose = lines.the(lines.result)
    if score.cut_off_rate > limits.cut_off:
        yield (
            f"{percent(score.cut_off_rate)} of the answers of {whose} were cut off: its accuracy is about length too. "
            "Raise the benchmark's max_new_tokens, or see why it does not end."
        )
    if score.unparsed_rate > limits.unread:
        yield (
            f"No answer could be read in {percent(score.unparsed_rate)} of the responses of {whose}; they count as "
            "wrong."
        )
