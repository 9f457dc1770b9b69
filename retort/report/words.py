"""The report's sentences, shared by the page, the Markdown and the model card: what was done and what came of it."""

from __future__ import annotations

from typing import Any

from retort.report.findings import Findings
from retort.report.scores import PAIRS, Paired

NAMES = {
    "teacher": "Teacher",
    "base": "Base student",
    "sft": "SFT student",
    "ppo": "PPO student",
    "sft_equal_compute": "SFT, equal compute",
}
"""Models as the report calls them."""


def percent(value: float | None, decimals: int = 1) -> str:
    """A share as a percentage, or a dash where there is none."""
    return "–" if value is None else f"{100 * value:.{decimals}f} %"


def points(value: float) -> str:
    """A difference of shares in percentage points, with its sign."""
    return f"{100 * value:+.1f}".replace("-", "−")


def difference(pair: Paired) -> str:
    """A paired difference with its interval: `+2.1 [+0.8, +3.4]`."""
    return f"{points(pair.difference)} [{points(pair.low)}, {points(pair.high)}]"


def decimals(value: float | None) -> str:
    """A figure with three decimals, or a dash."""
    return "–" if value is None else f"{value:.3f}"


def flops(value: float | None) -> str:
    """Floating-point operations as a power of ten: `1.46 × 10¹²`."""
    if value is None:
        return "–"
    digits, _, power = f"{value:.2e}".partition("e")
    raised = str(int(power)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{digits} × 10{raised}"


def pair_name(key: str) -> str:
    """`PPO student − SFT student` for `ppo_minus_sft`."""
    first, second = PAIRS[key]
    return f"{NAMES[first]} − {_inside(NAMES[second])}"


def claim(findings: Findings) -> list[str]:
    """Whether the method's claim held on the primary benchmark, one sentence for each comparison."""
    paired = findings.primary.paired
    if findings.gate_passed is False:
        return [
            "The reward model did not pass its gate, so PPO did not run and the SFT student is the result. "
            "The claim that PPO improves on SFT was not put to the test."
        ]
    sentences = []
    wording = {
        "ppo_minus_sft": "PPO improves on SFT",
        "ppo_minus_teacher": "The student passes its teacher",
        "ppo_minus_sft_equal_compute": "PPO is worth more than its compute spent on SFT",
    }
    for key, words in wording.items():
        if (pair := paired.get(key)) is not None:
            sentences.append(f"{words}: {_verdict(pair)} (difference {difference(pair)} points, n = {pair.n:,}).")
    return sentences


def headline(findings: Findings) -> str:
    """The result in one sentence."""
    models, paired = findings.primary.models, findings.primary.paired
    final = findings.final_model
    if final not in models:
        return "The final student was not evaluated."
    text = f"The {NAMES[final]} answers {percent(models[final].accuracy)} of {models[final].n:,} held-out items right"
    others = [
        f"the {_inside(NAMES[name])} {percent(models[name].accuracy)}"
        for name in ("sft", "teacher", "base")
        if name in models and name != final
    ]
    text += f"; {_join(others)}." if others else "."
    if findings.gate_passed is False:
        return text + " PPO was skipped: the reward model did not pass its gate."
    if "ppo_minus_sft" in paired:
        outcome = {
            "above": "PPO improved on SFT",
            "below": "PPO made the student worse than SFT",
            "open": "PPO and SFT cannot be told apart",
        }
        text += f" {outcome[paired['ppo_minus_sft'].verdict]}"
        if "ppo_minus_teacher" in paired:
            beside = {
                "above": "the student passed its teacher",
                "below": "the student stays below its teacher",
                "open": "the student and its teacher cannot be told apart",
            }
            text += f", and {beside[paired['ppo_minus_teacher'].verdict]}"
        text += "."
    return text


def method(findings: Findings) -> list[str]:
    """What the run did, step by step, with its own numbers."""
    stages = findings.stages
    steps = []
    prompts = stages.get("prompts", {})
    if "train" in prompts:
        steps.append(f"{prompts['train']:,} training prompts were left after cleaning and decontamination.")
    teacher = _count(stages.get("teacher_responses", {}), "responses")
    if teacher:
        steps.append(f"The teacher wrote {teacher:,} responses.")
    if findings.labels:
        labels = findings.labels
        who = "An LLM judge" if "figures" in stages.get("votes", {}) else "A majority vote"
        words = f"{who} gave {percent(labels.coverage)} of {labels.prompts:,} prompts a pseudo-label"
        if labels.accuracy is not None:
            words += (
                f"; checked afterwards against the gold answers, {percent(labels.accuracy)} of those labels are right"
            )
        steps.append(words + ". Gold answers took no part in training.")
    steps.append("The base student was fine-tuned on the teacher's responses that agree with the vote (SFT).")
    student = _count(stages.get("student_responses", {}), "responses")
    reward = stages.get("reward", {})
    words = "A reward model learned to tell agreeing responses from others, from teacher and student responses alike"
    if student:
        words += f" ({student:,} of the student's own)"
    if isinstance(reward.get("auc"), float):
        words += f"; on held-out prompts its AUC is {reward['auc']:.3f}"
    steps.append(words + ".")
    if findings.gate_passed is False:
        steps.append(
            "The gate stopped the run here: PPO against a reward model this weak would be learning its mistakes."
        )
    else:
        words = "PPO refined the SFT student against the reward model, held close to the SFT student by a KL penalty."
        steps.append(f"{words} {kept_checkpoint(findings)}".rstrip())
        steps += [f"Alarm in PPO, {alarm}" for alarm in findings.stages.get("ppo", {}).get("alarms") or []]
    return steps


def kept_checkpoint(findings: Findings) -> str:
    """Which PPO checkpoint is the result and how far it agrees with the vote on held-out prompts; empty if unsaid."""
    ppo = findings.stages.get("ppo", {})
    kept, last = ppo.get("best_iteration"), ppo.get("iterations")
    if kept is None or not last:
        return ""
    if kept == 0:
        return f"None of its {last} iterations agreed better with the vote on held-out prompts: it changed nothing."
    text = f"Of {last} iterations the policy after number {kept} is kept"
    if ppo.get("first_agreement") is not None and ppo.get("best_agreement") is not None:
        before, after = percent(ppo["first_agreement"]), percent(ppo["best_agreement"])
        text += f": it agrees with the vote on {after} of held-out prompts, the SFT student on {before}"
    return text + (". Training stopped early." if ppo.get("stopped_early") else ".")


def gate_reasons(findings: Findings) -> list[str]:
    """Why the gate failed, as the reward stage put it."""
    return [str(reason) for reason in findings.stages.get("reward", {}).get("gate_reasons") or []]


def changes(findings: Findings) -> dict[tuple[bool, bool], list[tuple[dict[str, Any], dict[str, Any]]]]:
    """Items by (SFT right, PPO right), each with both students' results, in the table's order."""
    after = {row["item_id"]: row for row in findings.results.get("ppo", [])}
    found: dict[tuple[bool, bool], list[tuple[dict[str, Any], dict[str, Any]]]] = {}
    for row in findings.results.get("sft", []):
        if (other := after.get(row["item_id"])) is not None:
            found.setdefault((row["correct"], other["correct"]), []).append((row, other))
    return found


def _verdict(pair: Paired) -> str:
    return {"above": "held", "below": "did not hold", "open": "not decided, the interval contains zero"}[pair.verdict]


def _inside(name: str) -> str:
    """A model's name within a sentence: `teacher`, but `SFT student`."""
    return name if name[1].isupper() else name[0].lower() + name[1:]


def _join(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _count(metrics: dict[str, Any], key: str) -> int | None:
    value = metrics.get(key)
    return value if isinstance(value, int) else None
