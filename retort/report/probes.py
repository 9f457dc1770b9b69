"""What the probe of an endpoint found, in words: `retort.engines.probe` asks before the first batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from retort.report.findings import Findings
from retort.report.formats import joined

_WORDS = {
    "temperature_honoured": ("follows the temperature", "gives the same response twice at temperature 1"),
    "seed_honoured": ("repeats a sample by its seed", "draws another sample with the same seed"),
    "logprobs_given": ("gives log-probabilities", "gives no log-probabilities"),
    "turn_ended": ("ends its turn", "did not end a one-word answer by itself"),
    "tokens_counted": ("counts tokens", "does not count tokens"),
    "reasoning_given": ("sends its reasoning", None),
}
"""What is said of each finding where it holds, and where it does not; None says nothing."""

_ALARM = (
    "It seems to ignore the temperature: a vote over equal samples is no vote, and a label is worth no more than one "
    "greedy answer."
)


def probes(findings: Findings) -> Iterator[str]:
    """One sentence or two for each endpoint that was probed, in the order of the graph."""
    for measured in findings.stages.values():
        probe = measured.metrics.get("probe")
        if isinstance(probe, Mapping):
            yield sentences(findings.outline.the(measured.answered_by or "teacher"), probe)


def sentences(who: str, probe: Mapping[str, Any]) -> str:
    """What was found of the endpoint of a model.

    Args:
        who: The model, "the teacher".
        probe: The probe's findings (`retort.engines.probe.Probe`), of several shards put together.
    """
    good = [yes for key, (yes, _) in _WORDS.items() if probe.get(key) is True]
    bad = [no for key, (_, no) in _WORDS.items() if probe.get(key) is False and no is not None]
    parts = []
    if good:
        parts.append(f"it {joined(good)}")
    if bad:
        parts.append(f"{'but it' if good else 'it'} {joined(bad)}")
    found = ", ".join(parts) if parts else "nothing could be told of it"
    text = f"A probe tried the endpoint of {who} before the first batch: {found}."
    if left_out := probe.get("fields_left_out"):
        text += f" It refused {joined(list(left_out))}, and was asked without."
    return f"{text} {_ALARM}" if probe.get("temperature_honoured") is False else text
