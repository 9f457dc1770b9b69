"""The model card: a Hugging Face README.md with the run's numbers in its front matter and in its text."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from typing import Any

import yaml

from retort.config.run import TEACHER
from retort.report import words
from retort.report.findings import Findings
from retort.report.formats import percent
from retort.report.markdown import pair_table, result_table
from retort.report.steps import steps


def render_card(findings: Findings) -> str:
    """The card as text."""
    lines, models = findings.outline, findings.metrics_of("models").get("models") or {}
    teacher, base = (models.get(name) or {} for name in (TEACHER, lines.base))
    rewarded = any(student.reward is not None and not student.skipped for student in lines.line)
    more = " and its rewards" if rewarded else ""
    parts = [
        f"---\n{_front_matter(findings, base)}---",
        f"# {findings.title}",
        words.headline(findings),
        f"This model was distilled from a larger one by transferring its responses{more} "
        "([arXiv 2502.19557](https://arxiv.org/abs/2502.19557)); no human labels were used in training.",
    ]
    made = [f"- Teacher: {_origin(teacher)}", f"- {lines.label(lines.base)}: {_origin(base)}"]
    made.append(f"- This model: {lines.label(findings.final_model)}")
    parts.append("\n".join(line for line in made if not line.endswith(": ")))
    parts += [f"**{notice}**" for notice in words.notices(findings)]
    for benchmark in findings.benchmarks:
        parts += [f"## Results on {benchmark.name}", result_table(benchmark, lines), pair_table(benchmark, lines)]
    parts += ["## Training", "\n".join(f"{number}. {step}" for number, step in enumerate(steps(findings), 1))]
    parts += ["## Limits", _limits(findings)]
    return "\n\n".join(part for part in parts if part) + f"\n\nMade by Retort {metadata.version('retort')}.\n"


def _origin(facts: Mapping[str, Any]) -> str:
    """Name and pinned version of a model; the last part of a folder's name, since its place means nothing elsewhere."""
    name = str(facts.get("model") or "")
    if facts.get("content"):
        return f"`{name.rstrip('/').rsplit('/', 1)[-1]}` (content {facts['content'][:12]})"
    return f"`{name}`" + (f" (revision {facts['revision'][:12]})" if facts.get("revision") else "") if name else ""


def _front_matter(findings: Findings, base: Mapping[str, Any]) -> str:
    score, made = findings.primary.models.get(findings.final_model), findings.outline.students.get(findings.final_model)
    front: dict[str, Any] = {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["retort", "distillation", *([made.method] if made else [])],
    }
    if base.get("revision"):  # only models of the hub have one
        front["base_model"] = base["model"]
    if score is not None:
        result = {
            "task": {"type": "text-generation"},
            "dataset": {"name": findings.primary.name, "type": findings.primary.name},
            "metrics": [{"type": "accuracy", "value": round(score.accuracy, 4)}],
        }
        front["model-index"] = [{"name": findings.title, "results": [result]}]
    return yaml.safe_dump(front, sort_keys=False, allow_unicode=True)


def _limits(findings: Findings) -> str:
    score = findings.primary.models.get(findings.final_model)
    text = "The model was trained on one kind of prompt and judged on the items above; elsewhere nothing is known. "
    text += "Its training labels are pseudo-labels from its teacher's responses and carry the teacher's errors"
    if findings.labels and findings.labels.accuracy is not None:
        text += f" ({percent(1 - findings.labels.accuracy)} of them are wrong where that can be checked)"
    text += "."
    if score is not None and score.unparsed_rate:
        text += f" No answer could be read from {percent(score.unparsed_rate)} of its responses."
    return text
