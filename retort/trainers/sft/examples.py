"""Which responses the student is fine-tuned on: those whose answer agrees with the vote."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from retort.config.data import AnswerType
from retort.text.agreement import stated
from retort.text.finish_reasons import is_whole


@dataclass(frozen=True)
class Example:
    """One training example, as text."""

    prompt_id: str
    prompt: str
    response: str


def agreeing_responses(
    prompts: Iterable[dict[str, Any]],
    responses: Iterable[dict[str, Any]],
    votes: Iterable[dict[str, Any]],
    kind: AnswerType,
    *,
    max_per_prompt: int | None,
    seed: int,
    judged: Mapping[tuple[str, str], bool | None] | None = None,
    reasoning: bool = False,
) -> list[Example]:
    """Responses that ended by themselves with the answer that the vote gave (paper §3.1: pseudo-labelled SFT data).

    Prompts whose vote abstained have none. Where `max_per_prompt` limits them, a seeded choice is made. The order is
    that of `prompts`, then of the samples, whatever order the responses come in. Responses to open-ended prompts agree
    where `judged`, by prompt and text, says so. With `reasoning`, what the teacher thought before a response, in its
    tags, is part of the example; which responses agree is told from the response alone.
    """

    def agreeing_with(label: str, row: dict[str, Any]) -> bool:
        if judged is not None:
            return judged.get((row["prompt_id"], row["response"])) is True
        return stated(row["response"], kind).agrees(label)

    labels = {row["prompt_id"]: row["label"] for row in votes if not row["abstained"]}
    by_prompt: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in responses:
        by_prompt[row["prompt_id"]].append(row)
    examples = []
    for prompt in prompts:
        label = labels.get(prompt["prompt_id"])
        if label is None:
            continue
        agreeing = [
            row
            for row in sorted(by_prompt[prompt["prompt_id"]], key=lambda row: row["sample"])
            if is_whole(row["finish_reason"]) and agreeing_with(label, row)
        ]
        if max_per_prompt is not None and len(agreeing) > max_per_prompt:
            # A generator of the prompt's own, so that one prompt's choice does not depend on the others.
            agreeing = random.Random(f"{seed}:{prompt['prompt_id']}").sample(agreeing, max_per_prompt)  # noqa: S311
        examples += [Example(prompt["prompt_id"], prompt["prompt"], _taught(row, reasoning)) for row in agreeing]
    return examples


def _taught(row: dict[str, Any], reasoning: bool) -> str:
    response: str = row["response"]
    return f"{row.get('reasoning') or ''}{response}" if reasoning else response
