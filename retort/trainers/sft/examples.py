"""Which responses agree with the vote, and which of them the student is fine-tuned on."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
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


@dataclass(frozen=True)
class Told:
    """A whole response, and whether it agrees with the vote."""

    row: Mapping[str, Any]
    """As in `retort.io.tables.RESPONSES`."""
    agrees: bool | None
    """None where the vote abstained, or where the judge of an open-ended prompt does not decide."""


def told_responses(
    prompts: Iterable[dict[str, Any]],
    responses: Iterable[dict[str, Any]],
    votes: Iterable[dict[str, Any]],
    kind: AnswerType,
    *,
    judged: Mapping[tuple[str, str], bool | None] | None = None,
) -> Iterator[tuple[dict[str, Any], list[Told]]]:
    """Each prompt with those responses to it that ended by themselves.

    The order is that of `prompts`, then of the samples, whatever order the responses come in. Responses to open-ended
    prompts agree where `judged`, by prompt and text, says so.
    """
    labels = {row["prompt_id"]: row["label"] for row in votes if not row["abstained"]}
    by_prompt: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in responses:
        if is_whole(row["finish_reason"]):
            by_prompt[row["prompt_id"]].append(row)

    def agrees(row: dict[str, Any]) -> bool | None:
        label = labels.get(row["prompt_id"])
        if label is None:
            return None
        return (
            judged.get((row["prompt_id"], row["response"]))
            if judged is not None
            else stated(row["response"], kind).agrees(label)
        )

    for prompt in prompts:
        rows = sorted(by_prompt[prompt["prompt_id"]], key=lambda row: row["sample"])
        yield prompt, [Told(row, agrees(row)) for row in rows]


def taught_responses(
    told: Iterable[tuple[dict[str, Any], list[Told]]],
    *,
    every: bool = False,
    max_per_prompt: int | None,
    seed: int,
    reasoning: bool = False,
) -> list[Example]:
    """What a student is fine-tuned on: the responses that agree with the vote (paper §3.1), or, with `every`, all.

    Where `max_per_prompt` limits them, a seeded choice is made. With `reasoning`, what the teacher thought before a
    response, in its tags, is part of the example; which responses agree is told from the response alone.
    """
    examples = []
    for prompt, found in told:
        rows = [one.row for one in found if every or one.agrees is True]
        if max_per_prompt is not None and len(rows) > max_per_prompt:
            # A generator of the prompt's own, so that one prompt's choice does not depend on the others.
            rows = random.Random(f"{seed}:{prompt['prompt_id']}").sample(rows, max_per_prompt)  # noqa: S311
        examples += [Example(prompt["prompt_id"], prompt["prompt"], taught_text(row, reasoning)) for row in rows]
    return examples


def taught_text(row: Mapping[str, Any], reasoning: bool) -> str:
    """The text of a response as it is taught, with the reasoning before it where it is."""
    response: str = row["response"]
    return f"{row.get('reasoning') or ''}{response}" if reasoning else response
