"""Models: folders, vocabularies, tokenizers and templates, by the stage's own code; and lengths in their tokens."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

from retort.check.finding import Checked
from retort.config.models import ModelConfig
from retort.config.run import TEACHER
from retort.modeling.chat import prompt_ids
from retort.modeling.loading import context_of
from retort.run.embedded import place
from retort.stages.models import with_weights

_LONGEST = 64
"""Prompts, the longest in characters, that are counted in tokens; and as many taken at equal distances."""


def check_models(on: Checked) -> None:
    """Every model that has weights, and the tokens of the prompts under each one's tokenizer."""
    entries = {f"models.{name}": (name, entry) for name, entry in on.config.models.items()}
    if on.config.judge is not None:
        entries["judge.model"] = ("judge", on.config.judge.model)
    for key, (name, entry) in entries.items():
        if entry.source is not None:
            _check_model(on, key, name, entry)
    _check_templates(on)
    _check_critics(on)


def _check_model(on: Checked, key: str, name: str, entry: ModelConfig) -> None:
    assert entry.source is not None
    folder = place(entry.source, on.root)
    if not folder.is_dir() and not on.here:
        on.facts.append(f"{key}: {entry.source} is fetched by the cluster and not looked at here")
        return
    source = str(folder) if folder.is_dir() else entry.source
    template = None if entry.chat_template is None else str(place(entry.chat_template, on.root))
    entry = entry.model_copy(update={"chat_template": template})
    with on.collecting(f"{key}.source"):
        training = name not in (TEACHER, "judge")
        _, facts, loaded = with_weights(entry, source, on.root, training=training, hashed=False)
        for remark in facts.chat_template:
            on.warn(f"{key}.source", f"{source}: of its chat template: {remark}")
        on.tokenizers[name], on.vocabularies[name] = loaded.tokenizer, facts.vocabulary
        on.contexts[name] = context_of(loaded.config.get_text_config(decoder=True))


def _check_templates(on: Checked) -> None:
    """Every prompt must go through each model's chat template, with room for a response."""
    asked = _some([row for rows in on.rows.values() for row in rows])
    if not asked:
        return
    lengths: dict[str, list[int]] = {}
    for name, tokenizer in on.tokenizers.items():
        if name == "judge":
            continue
        with on.collecting(f"models.{name}.source"):
            lengths[name] = [len(prompt_ids(tokenizer, row["prompt"])) for row in asked]
    for key, name, new_tokens in _sampled(on):
        base = on.base_of(name)
        if base not in lengths or not on.answers_here(name):
            continue
        longest, context = max(lengths[base]), on.contexts[base]
        if longest + new_tokens > context:
            row = asked[lengths[base].index(longest)]
            on.error(
                key,
                f"prompt {row['prompt_id']!r} has {longest} tokens; with {new_tokens} for the response it exceeds the "
                f"context of {base}, {context}. Shorten or remove the prompt, lower {key}, or use a model with a "
                "longer context.",
            )
    for key, name, most in _trained(on):
        base = on.base_of(name)
        if base in lengths:
            _check_length(on, key, base, most, lengths[base])


def _check_length(on: Checked, key: str, base: str, most: int, lengths: list[int]) -> None:
    """Examples longer than `most` are left out of training."""
    if most > on.contexts[base]:
        on.warn(key, f"is {most}, more than the {on.contexts[base]} tokens that {base} was made for")
    typical = statistics.median(lengths)
    if min(lengths) >= most:
        on.error(
            key,
            f"is {most} tokens, and the shortest of {len(lengths)} prompts alone has {min(lengths)} in the tokens of "
            f"{base}: no example is short enough. Raise it.",
        )
    elif typical >= most / 2:
        on.warn(
            key,
            f"is {most} tokens, of which a prompt takes {typical:.0f} (the middle of {len(lengths)}, in the tokens of "
            f"{base}); examples that are longer are left out",
        )


def _sampled(on: Checked) -> Iterator[tuple[str, str, int]]:
    """Key, model or student, and new tokens, of everything that is sampled."""
    config = on.config
    yield "teacher_responses.max_new_tokens", TEACHER, config.teacher_responses.max_new_tokens
    for name in config.sampled_students():
        yield "student_responses.max_new_tokens", name, config.student_responses.max_new_tokens
    for name in config.students:
        if (new_tokens := getattr(config.settings(name), "max_new_tokens", None)) is not None:
            yield f"{_place(on, name, 'max_new_tokens')}", name, new_tokens
    if any(one.task == "heldout" for one in config.evaluate.benchmarks):
        for name in config.evaluated():
            yield "evaluate.max_new_tokens", name, config.evaluate.max_new_tokens


def _trained(on: Checked) -> Iterator[tuple[str, str, int]]:
    """Key, model or student, and longest example in tokens, of everything that learns from texts."""
    config = on.config
    for name in config.students:
        if (most := getattr(config.settings(name), "max_length", None)) is not None:
            yield _place(on, name, "max_length"), name, most
    for name in config.learned_rewards():
        settings = config.reward_settings(name)
        yield "reward.max_length", settings.trunk, settings.max_length


def _place(on: Checked, student: str, key: str) -> str:
    entry = on.config.students[student]
    return f"students.{student}.{key}" if key in entry.overrides else f"{on.config.method(student).name}.{key}"


def _check_critics(on: Checked) -> None:
    """A critic that starts from the reward model must read the student's tokens."""
    for name in on.config.students:
        settings, reward = on.config.settings(name), on.config.reward_of(name)
        if getattr(settings, "critic_init", None) != "reward" or reward is None:
            continue
        key = _place(on, name, "critic_init")
        if not on.config.reward_type(reward).trained:
            on.error(key, f"rewards.{reward} has no model for the critic to start from. Set critic_init: policy.")
            continue
        trunk, base = on.base_of(on.config.reward_settings(reward).trunk), on.base_of(name)
        both = on.vocabularies.get(trunk), on.vocabularies.get(base)
        if None not in both and both[0] != both[1]:
            on.error(key, f"rewards.{reward} starts from {trunk}, whose vocabulary is not that of {base}. Set policy.")


def _some(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The longest prompts, and some of all."""
    longest = sorted(rows, key=lambda row: len(row["prompt"]), reverse=True)[:_LONGEST]
    step = max(1, len(rows) // _LONGEST)
    return list({row["prompt_id"]: row for row in [*longest, *rows[::step]]}.values())
