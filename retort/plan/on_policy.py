"""Plan of a student that learns from its own samples by TRL's trainers: `grpo`, `rloo`, `distillation`."""

from __future__ import annotations

import math
from dataclasses import dataclass

from retort.config.methods import DistillationConfig, GroupConfig, OnPolicyConfig
from retort.plan import trace
from retort.plan.passes import held, scoring, trained
from retort.plan.setting import Setting, StagePlan
from retort.plan.speed import Work, batch_s
from retort.plan.trace import Bytes, Model


@dataclass(frozen=True)
class Shape:
    """What an iteration consists of."""

    episodes: int
    each: int
    """Responses to one prompt."""
    minibatch: int
    epochs: int
    again: bool
    """Whether the student reads its samples again before it is updated."""


def plan(on: Setting, student: str) -> StagePlan:
    """The student in training, the other models frozen, and a copy of what it trains where the best one is kept."""
    config: OnPolicyConfig = on.config.settings(student)
    shape, start = _shape(config), on.start(student)
    frozen, notes, counted = _frozen(on, student, config)
    model = trained(start, config, start.dtype)
    sharing, weights = on.sharing(config), trace.weights(model)
    resident = sharing.held(model) + Bytes(weights=held(frozen.values()))
    if config.keep == "best":
        resident += Bytes(weights=2 * weights.gradients if model.dtype == "bfloat16" else weights.gradients)
    mine = math.ceil(shape.episodes / on.processes)
    micro = math.ceil(shape.minibatch / on.processes)
    rows = min(config.micro_batch_size or micro, micro)
    prompt, new = on.assume.longest_prompt, config.max_new_tokens
    batch = min(mine, config.generation_batch_size)
    update = trace.training_pass(
        model, rows=rows, width=prompt + new, scored=new, read="logprobs", autocast=on.autocast
    )
    phases = {
        f"updating with {rows} x {prompt + new} tokens": resident + update,
        f"decoding {batch} rows": resident
        + trace.generation(
            model.frozen(), rows=batch, prompts=math.ceil(batch / shape.each), prompt=prompt, response=new
        ),
    }
    for name, one in frozen.items():
        phases[f"scoring by {name}"] = resident + scoring(one, prompt + new, new, rows)
    work = _work(on, student, config, shape, frozen if counted else {})
    seconds = work.passes_s(on.device, on.assume, start.dtype, checkpointing=config.gradient_checkpointing)
    batches = config.iterations * math.ceil(shape.episodes / config.generation_batch_size)
    seconds += batches * batch_s(start, min(shape.episodes, config.generation_batch_size), new, on.device, on.assume)
    other = on.config.students[student].compute_of
    if other is not None:
        notes = (*notes, f"the iterations that the compute of {other} adds are not counted")
    return StagePlan.fullest(phases, work, seconds, notes=notes)


def _shape(config: OnPolicyConfig) -> Shape:
    if isinstance(config, GroupConfig):
        again = config.minibatch < config.episodes or config.epochs > 1
        return Shape(config.episodes, config.responses_per_prompt, config.minibatch, config.epochs, again)
    count = config.prompts_per_iteration
    return Shape(count, 1, count, 1, False)


def _frozen(on: Setting, student: str, config: OnPolicyConfig) -> tuple[dict[str, Model], tuple[str, ...], bool]:
    """Models that read the samples, by name; what is to be said of them; whether their compute is known."""
    if isinstance(config, DistillationConfig):
        return {config.teacher: on.model(config.teacher)}, (), True
    found: dict[str, Model] = {}
    if getattr(config, "beta", 0.0) > 0 and config.lora is None:
        found["the reference"] = on.start(student)
    name = on.config.reward_of(student)
    if name is None:
        return found, (), True
    kind, settings = on.config.reward_type(name), on.config.reward_settings(name)
    if kind.trained:
        found[f"the trunk of {name}"] = on.model(settings.trunk)
        found |= {one: on.model(one) for one in settings.likelihood}
        return found, (), True
    loaded = {
        one: on.model(one)
        for one in kind.models(settings)
        if one in on.config.students or on.config.models[one].engine.WEIGHTS
    }
    note = f"rewards.{name} is of type {kind.name}: compute and time of its scoring are not counted"
    return found | loaded, (note,), not loaded


def _work(on: Setting, student: str, config: OnPolicyConfig, shape: Shape, frozen: dict[str, Model]) -> Work:
    """Samples, scoring and updates, without the measurements of agreement."""
    episodes = config.iterations * shape.episodes
    response = on.assume.response(config.max_new_tokens)
    tokens = episodes * (on.assume.prompt_tokens + response)
    size = trace.parameters(on.start(student))
    readers = sum(map(trace.parameters, frozen.values())) + size * shape.again
    if getattr(config, "beta", 0.0) > 0 and config.lora is not None:
        readers += size  # the student without its adapters
    return Work(
        generated=episodes * response,
        read=tokens,
        trained=tokens * shape.epochs,
        decoding_flops=2.0 * size * tokens,
        reading_flops=2.0 * readers * tokens,
        training_flops=6.0 * size * tokens * shape.epochs,
    )
