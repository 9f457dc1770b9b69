"""How often held-out responses agree with the vote: what tells a student that learns from one that games its reward."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from retort.config.data import AnswerType
from retort.engines.sampler import Sample
from retort.modeling.chat import response_text
from retort.modeling.process_group import process_group
from retort.plugins import Training
from retort.text.agreement import stated
from retort.trainers.shared.prompts import TrainingPrompt

Agree = Callable[[Sequence[TrainingPrompt], Sequence[str]], list[bool]]
"""Says which responses to open-ended prompts agree with the label."""


def agreement(
    prompts: Sequence[TrainingPrompt],
    samples: Sequence[Sample],
    *,
    tokenizer: Any,
    ends: tuple[int, ...],
    kind: AnswerType,
    agree: Agree | None,
) -> float:
    """Share of the responses that ended by themselves and agree with their prompt's label.

    Args:
        prompts: Prompts, all labelled.
        samples: A response to each.
        tokenizer: What reads the responses' tokens.
        ends: Tokens that end a response.
        kind: Kind of answer.
        agree: For open-ended prompts; None reads and compares the answers.
    """
    texts = [response_text(tokenizer, sample.ids, ends) for sample in samples]
    if agree is not None:
        agreeing = process_group().from_first(lambda: agree(prompts, texts))
    else:
        pairs = zip(prompts, texts, strict=True)
        agreeing = [prompt.label is not None and stated(text, kind).agrees(prompt.label) for prompt, text in pairs]
    hits = [sample.finished and agreed for sample, agreed in zip(samples, agreeing, strict=True)]
    return sum(hits) / len(hits)


@contextmanager
def open_agreement(training: Training) -> Iterator[Agree | None]:
    """Where prompts are open-ended, what has the judge say which responses agree with their label; else None."""
    if training.judging is None:
        yield None
        return
    with training.judging() as agree_with:

        def agree(prompts: Sequence[TrainingPrompt], texts: Sequence[str]) -> list[bool]:
            asked = [(p.prompt_id, p.text, text, p.label or "") for p, text in zip(prompts, texts, strict=True)]
            return [found is True for found in agree_with(asked)]

        yield agree
