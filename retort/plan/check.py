"""What a run would stumble over, by its configuration and the shapes of its models; nothing is loaded or started.

Each check is arithmetic that a stage would do too late: after the stages before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from retort.config.run import TEACHER
from retort.config.training import PPOConfig, SFTConfig
from retort.plan.setting import Setting
from retort.plan.walk import RunPlan


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or that a run would say as a warning."""

    place: str
    """Key of the configuration, or group of tasks."""
    problem: str
    remedy: str
    fatal: bool
    """Whether the run would fail by it."""


def settings(on: Setting) -> list[Finding]:
    """What is wrong with the numbers of a configuration.

    Args:
        on: The configuration and assumptions.

    Raises:
        ModelError: the shape of a model is not known here and cannot be fetched.
    """
    return [*_contexts(on), *_lengths(on), *_labels(on)]


def memory(plan: RunPlan) -> Iterator[Finding]:
    """Stages that do not fit on the GPU."""
    for group, stage in plan.stages.items():
        if stage.memory is not None and stage.memory.total > plan.device.memory_gb * 1e9:
            needs = f"needs {stage.memory.total / 1e9:.1f} GB ({stage.peak}), and {plan.device.name} has"
            yield Finding(
                group,
                f"{needs} {plan.device.memory_gb:g}",
                "`retort plan` shows what takes it; lower batch sizes, or take a larger GPU",
                fatal=True,
            )


def _contexts(on: Setting) -> Iterator[Finding]:
    """Prompts with responses that are longer than a model's context."""
    config, prompt = on.config, on.assume.longest_prompt
    asked = {"teacher_responses": [TEACHER], "student_responses": config.sampled_students()}
    wanted = [
        (f"{stage}.max_new_tokens", name, getattr(config, stage).max_new_tokens)
        for stage, names in asked.items()
        for name in names
    ]
    for name in config.evaluated():
        limits = [one.max_new_tokens or config.evaluate.max_new_tokens for one in config.evaluate.benchmarks]
        wanted.append(("evaluate.max_new_tokens", name, max(limits)))
    for place, name, new_tokens in wanted:
        if not config.engine(name).WEIGHTS:
            continue
        base = config.base_of(name) if name in config.students else name
        text = on.model(base).config.get_text_config(decoder=True)
        context = getattr(text, "max_position_embeddings", None)
        if context is not None and prompt + new_tokens > context:
            yield Finding(
                place,
                f"a prompt of {prompt} tokens with {new_tokens} for its response exceeds {name}'s context of {context}",
                "Lower it, or use a model with a longer context",
                fatal=True,
            )


def _lengths(on: Setting) -> Iterator[Finding]:
    """Responses that are sampled and then are too long for what learns from them."""
    config, prompt = on.config, on.assume.longest_prompt
    teacher = config.teacher_responses.max_new_tokens
    for name in config.students:
        settings = config.settings(name)
        section = config.method(name).name
        if isinstance(settings, SFTConfig) and prompt + teacher > settings.max_length:
            yield _too_short(f"{section}.max_length", settings.max_length, prompt, teacher, "teacher_responses")
        if isinstance(settings, PPOConfig) and config.sampled_students():
            sampled = config.student_responses.max_new_tokens
            if settings.max_new_tokens > sampled:
                yield Finding(
                    f"{section}.max_new_tokens",
                    f"{name} may write {settings.max_new_tokens} tokens, but its reward learns from student responses "
                    f"of at most {sampled}",
                    "Set both to the same",
                    fatal=False,
                )
    longest = max(teacher, config.student_responses.max_new_tokens if config.sampled_students() else 0)
    for name in config.learned_rewards():
        most = config.reward_settings(name).max_length
        if prompt + longest > most:
            yield _too_short("reward.max_length", most, prompt, longest, "responses")


def _too_short(place: str, most: int, prompt: int, response: int, sampled: str) -> Finding:
    return Finding(
        place,
        f"{most} tokens leave out what is longer; a prompt of {prompt} with {sampled} of {response} has "
        f"{prompt + response}",
        "Raise it, or lower the responses' max_new_tokens",
        fatal=False,
    )


def _labels(on: Setting) -> Iterator[Finding]:
    """Votes that cannot decide, and gates that cannot be passed, however good the models are."""
    config = on.config
    if config.answer != "open" and config.engine(TEACHER).ASKABLE:
        votes = len(config.teacher_responses.temperatures) * config.teacher_responses.samples
        if votes < 3:
            yield Finding(
                "teacher_responses.samples",
                f"a vote over {votes} response(s) to a prompt corrects nothing",
                "Sample at least three",
                fatal=False,
            )
    sampling = config.student_responses
    each = min(len(sampling.temperatures) * sampling.samples, config.reward_data.max_per_prompt)
    for name in config.learned_rewards():
        settings = config.reward_settings(name)
        # Half of the held-out prompts choose the step; responses of both labels are needed from the other half.
        most = config.prompts.validation // 2 * each
        if settings.responses != [TEACHER] and most < 2 * settings.min_per_class:
            yield Finding(
                "prompts.validation",
                f"half of {config.prompts.validation} held-out prompts with {each} student responses each are {most} "
                f"for the gate of rewards.{name}, which wants {settings.min_per_class} of each label: it cannot pass, "
                "and what is trained against it is skipped",
                "Hold more prompts out, or sample more student responses",
                fatal=True,
            )
