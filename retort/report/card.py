"""The model card: a Hugging Face README.md with the run's numbers in its front matter and in its text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import yaml

from retort.config.run import TEACHER
from retort.report import words
from retort.report.findings import Findings
from retort.report.formats import percent
from retort.report.markdown import pair_table, result_table
from retort.report.results import kept_out
from retort.report.steps import steps


def render_card(findings: Findings) -> str:
    """The card as text."""
    lines, models = findings.outline, findings.metrics_of("models").get("models") or {}
    teacher, base = (models.get(name) or {} for name in (TEACHER, lines.base))
    licence = findings.licence or base.get("license")
    rewarded = any(student.reward is not None and not student.skipped for student in lines.line)
    more = " and its rewards" if rewarded else ""
    parts = [
        f"---\n{_front_matter(findings, base, licence)}---",
        f"# {findings.title}",
        words.headline(findings),
        f"This model was distilled from a larger one by transferring its responses{more} "
        "([arXiv 2502.19557](https://arxiv.org/abs/2502.19557)); no human labels were used in training.",
    ]
    made = [f"- Teacher: {_origin(teacher)}", f"- {lines.label(lines.base)}: {_origin(base)}"]
    made.append(f"- This model: {lines.label(findings.final_model)}")
    parts.append("\n".join(line for line in made if not line.endswith(": ")))
    parts += [f"**{notice}**" for notice in words.notices(findings)]
    parts += ["## Use", _use(findings)]
    for benchmark in findings.benchmarks:
        parts += [f"## Results on {benchmark.name}", result_table(benchmark, lines), pair_table(benchmark, lines)]
    parts += ["## Training", "\n".join(f"{number}. {step}" for number, step in enumerate(steps(findings), 1))]
    parts += ["## Data", _data(findings)]
    parts += ["## Limits", _limits(findings)]
    parts += ["## Licence", _licence(findings, licence)]
    return "\n\n".join(part for part in parts if part) + f"\n\nMade by Retort {metadata.version('retort')}.\n"


def _origin(facts: Mapping[str, Any]) -> str:
    """Name and pinned version of a model; the last part of a folder's name, since its place means nothing elsewhere."""
    name = str(facts.get("model") or "")
    if facts.get("content"):
        return f"`{name.rstrip('/').rsplit('/', 1)[-1]}` (content {facts['content'][:12]})"
    return f"`{name}`" + (f" (revision {facts['revision'][:12]})" if facts.get("revision") else "") if name else ""


_USE = """\
```python
from transformers import pipeline

answer = pipeline("text-generation", "PATH OR NAME OF THIS MODEL")
messages = [{"role": "user", "content": "QUESTION"}]
print(answer(messages, max_new_tokens=TOKENS, do_sample=False)[0]["generated_text"][-1]["content"])
```

or `vllm serve PATH`, and any client of OpenAI's interface."""


def _use(findings: Findings) -> str:
    """Code that runs, with the length of answers it was measured at and a question of its kind."""
    question = next(iter(findings.prompts.values()), "")
    if "`" in question or len(question) > 300 or question.startswith('{"messages"'):
        question = ""  # no code block takes it as it is
    text = _USE.replace("QUESTION", json.dumps(question, ensure_ascii=False)[1:-1] or "...")
    return text.replace("TOKENS", f"{findings.max_new_tokens}")


def _data(findings: Findings) -> str:
    prompts = findings.metrics_of("prompts")
    counts = [f"{prompts[split]:,} for {split}" for split in ("train", "validation", "test") if split in prompts]
    dropped = sum(int(prompts.get(key) or 0) for key in ("exact_duplicates", "near_duplicates", "contaminated"))
    chosen = "an LLM judge" if "figures" in findings.metrics_of("votes") else "its majority vote"
    lines = [
        f"Prompts after cleaning: {', '.join(counts)}; {dropped:,} duplicates and questions of benchmarks were dropped."
        if counts
        else "",
        f"Responses: the teacher's own, chosen by {chosen}. Gold answers were used for figures alone.",
        *kept_out(findings),
    ]
    return "\n".join(line for line in lines if line)


def _licence(findings: Findings, licence: str | None) -> str:
    text = f"{licence}. " if licence else "Not stated: `report.license` of the run's configuration says it. "
    return text + (
        f"What the licence of {findings.outline.the(findings.outline.base)} and the terms of the teacher ask of models "
        "that are made from them or from what they wrote holds for this one too."
    )


def _front_matter(findings: Findings, base: Mapping[str, Any], licence: str | None) -> str:
    score, made = findings.primary.models.get(findings.final_model), findings.outline.students.get(findings.final_model)
    front: dict[str, Any] = {
        **({"license": licence} if licence else {}),
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
            "metrics": [
                {
                    "type": "accuracy",
                    "value": round(score.accuracy, 4),
                    "name": f"accuracy, 95 % interval {score.low:.4f} to {score.high:.4f}, n = {score.n}",
                }
            ],
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
