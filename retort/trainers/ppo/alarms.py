"""Known ways in which PPO against a learned reward fails, told from its curves.

The reward model is a proxy: past some point, more of it is less of what it stands for (Gao et al. 2023, arXiv
2210.10760). What that looks like in the curves is watched for here; none of it needs gold answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from retort.config.training import AlarmsConfig

Figures = dict[str, float]
"""Figures of one iteration, by the names of their curves."""


@dataclass(frozen=True)
class Alarm:
    """A failure that the curves show."""

    kind: str
    """`cut_off`, `no_signal`, `reward_gamed`, `entropy_collapse`, `kl_runaway` or `length_drift`."""
    iteration: int
    """Iteration (from 1) at which it was first seen."""
    message: str
    """What was seen, with figures."""


def new_alarms(history: Sequence[Figures], config: AlarmsConfig, *, warmup: int, raised: set[str]) -> list[Alarm]:
    """Alarms that the last iteration gives cause for and that are not raised yet.

    Args:
        history: Figures of every iteration so far. `agreement` is there where it was measured.
        config: Thresholds.
        warmup: Iterations at the start in which the policy rested; what is compared with "at first" starts after it.
        raised: Kinds of earlier alarms.
    """
    found = {"cut_off": _cut_off(history[-1]), "no_signal": _no_signal(history[-1])}
    moving = history[warmup:]
    if len(moving) > config.window:
        first, last = moving[: config.window], moving[-config.window :]
        found |= {kind: check(first, last, history, config) for kind, check in _CHECKS.items()}
    return [Alarm(kind, len(history), text) for kind, text in found.items() if text is not None and kind not in raised]


def _mean(rows: Sequence[Figures], name: str) -> float:
    return sum(row[name] for row in rows) / len(rows)


def _cut_off(last: Figures) -> str | None:
    if last["finished"] > 0:
        return None
    return (
        f"every response was cut off, after {last['response_tokens']:.0f} tokens. Raise ppo.max_new_tokens, or train "
        "the SFT student for longer: it does not end its responses."
    )


def _no_signal(last: Figures) -> str | None:
    if last["score_deviation"] > 1e-6:
        return None
    return (
        f"the reward model gives every response the same score, {last['score']:.6g}. Look at its reliability in the "
        "report, and train it for longer or on more prompts."
    )


def _reward_gamed(
    first: Sequence[Figures], last: Sequence[Figures], history: Sequence[Figures], config: AlarmsConfig
) -> str | None:
    measured = [row["agreement"] for row in history if "agreement" in row]
    if "agreement" not in history[-1] or max(measured) - measured[-1] <= config.agreement_drop:
        return None
    before, now = _mean(first, "reward"), _mean(last, "reward")
    if now <= before:
        return None
    return (
        f"the reward rose from {before:.3f} to {now:.3f} while held-out agreement fell from {max(measured):.3f} to "
        f"{measured[-1]:.3f}: the reward model is being gamed. Raise ppo.kl.coefficient, or train the reward model on "
        "this student's responses."
    )


def _entropy_collapse(
    first: Sequence[Figures], last: Sequence[Figures], _: Sequence[Figures], config: AlarmsConfig
) -> str | None:
    before, now = _mean(first, "entropy"), _mean(last, "entropy")
    if now >= config.entropy_floor * before:
        return None
    return (
        f"the entropy fell from {before:.3g} to {now:.3g} nats a token: the student says one thing only. Lower "
        "ppo.learning_rate, or raise ppo.kl.coefficient."
    )


def _kl_runaway(
    _first: Sequence[Figures], last: Sequence[Figures], _: Sequence[Figures], config: AlarmsConfig
) -> str | None:
    now = _mean(last, "kl")
    if now <= config.max_kl:
        return None
    return (
        f"the KL to the SFT student is {now:.1f} nats a response, above {config.max_kl:g}. Raise ppo.kl.coefficient, "
        "or set ppo.kl.target."
    )


def _length_drift(
    first: Sequence[Figures], last: Sequence[Figures], _: Sequence[Figures], config: AlarmsConfig
) -> str | None:
    before, now = _mean(first, "response_tokens"), _mean(last, "response_tokens")
    if abs(now - before) <= config.length_drift * before:
        return None
    return (
        f"responses went from {before:.1f} to {now:.1f} tokens. Read some: the reward model may like length itself; "
        "ppo.length_penalty takes that away."
    )


_CHECKS: dict[str, Callable[..., str | None]] = {
    "reward_gamed": _reward_gamed,
    "entropy_collapse": _entropy_collapse,
    "kl_runaway": _kl_runaway,
    "length_drift": _length_drift,
}
