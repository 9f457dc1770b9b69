"""Plan of a student of the method `ppo`."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from retort.config.models import VLLMEngineConfig
from retort.config.training import PPOConfig
from retort.plan import trace
from retort.plan.passes import held, micro, scoring, trained
from retort.plan.sampling import vllm_memory, vllm_s
from retort.plan.setting import Setting, StagePlan
from retort.plan.speed import Work, batch_s
from retort.plan.trace import Bytes, Model

SCORING_BATCH = 128
"""Rows of a pass without gradient (`retort.trainers.ppo.rollout.SCORING_BATCH`)."""


@dataclass(frozen=True)
class Scorer:
    """What a reward has on the GPU; nothing, where it scores elsewhere or without a model."""

    trunk: Model | None = None
    """A learned reward's, without adapters."""
    own: int = 0
    """Bytes of the weights that it adds to those of the policy and of the frozen models."""
    frozen: dict[str, Model] = field(default_factory=dict)
    """Models whose likelihood it sees, or that it loads for something else, by name."""
    counted: bool = True
    """Whether the compute of scoring is that of trunk and frozen models, and known."""
    notes: tuple[str, ...] = ()


def plan(on: Setting, student: str) -> StagePlan:
    """Policy and critic in training, the other models frozen, and two copies of what the policy trains."""
    config: PPOConfig = on.config.settings(student)
    scorer, work = _scorer(on, student, config), _work(on, student, config)
    seconds = work.passes_s(on.device, on.assume, on.start(student).dtype, checkpointing=config.gradient_checkpointing)
    seconds += _sampling_s(on, student, config)
    return StagePlan.fullest(
        _phases(on, student, config, scorer),
        work,
        seconds,
        # Adapters are merged in float32 (`retort.trainers.ppo.models.trained_student`).
        saves="float32" if config.lora is not None else None,
        notes=(*scorer.notes, *_no_compute_added(on, student), *_served(on, student, config)[1]),
    )


def _sampling_s(on: Setting, student: str, config: PPOConfig) -> float:
    """Seconds of all rollouts."""
    episodes, start, engine = (
        config.prompts_per_iteration * config.responses_per_prompt,
        on.start(student),
        config.rollout_engine,
    )
    if isinstance(engine, VLLMEngineConfig):
        # No more than there are episodes.
        busy = engine.model_copy(update={"concurrency": min(engine.concurrency, episodes)})
        return config.iterations * vllm_s(on, busy, start, episodes, config.max_new_tokens)
    batches = config.iterations * math.ceil(episodes / config.generation_batch_size)
    alone = min(episodes, config.generation_batch_size)
    return batches * batch_s(start, alone, config.max_new_tokens, on.device, on.assume)


def _served(on: Setting, student: str, config: PPOConfig) -> tuple[Bytes, tuple[str, ...]]:
    """What a server of the rollouts takes beside the trainer all the time; nothing without one."""
    engine = config.rollout_engine
    return vllm_memory(on, engine, on.start(student)) if isinstance(engine, VLLMEngineConfig) else (Bytes(), ())


def _no_compute_added(on: Setting, student: str) -> list[str]:
    other = on.config.students[student].compute_of
    return [] if other is None else [f"compute_of adds nothing of {other}: PPO takes its own iterations"]


def _phases(on: Setting, student: str, config: PPOConfig, scorer: Scorer) -> dict[str, Bytes]:
    start = on.start(student)
    model, critic = trained(start, config, start.dtype), _critic(on, student, config, scorer)
    sharing, policy, value = on.sharing(config), trace.weights(model), trace.weights(critic)
    copy = sharing.share(_float32(policy.gradients, model))
    whole = sharing.gathered(model, critic)  # in a rollout
    moments = sharing.share(policy.optimizer) + sharing.share(value.optimizer)
    resident = Bytes(weights=weights(on, student) + 2 * copy - whole.weights, optimizer=moments)
    resident += _served(on, student, config)[0]
    mine = math.ceil(config.prompts_per_iteration * config.responses_per_prompt / on.processes)
    batch = min(mine, config.generation_batch_size)
    prompts = math.ceil(batch / config.responses_per_prompt)
    prompt, new, each = on.assume.longest_prompt, config.max_new_tokens, config.responses_per_prompt
    sequences, width = micro(config, on), prompt + new
    rows, columns, scored = trace.packed(
        model, sequences=sequences, responses_per_prompt=each, prompt=prompt, response=new
    )
    update = trace.training_pass(
        model, rows=rows, width=columns, scored=scored, read="logprobs", autocast=config.autocast
    )
    rollout = Bytes()  # a server's own
    if not isinstance(config.rollout_engine, VLLMEngineConfig):
        rollout = trace.generation(model.frozen(), rows=batch, prompts=prompts, prompt=prompt, response=new)
    phases = {
        # and the critic's gradients
        f"updating with {sequences} x {width} tokens": sharing.training(update, model)
        + Bytes(gradients=sharing.share(value.gradients)),
        # what is trained lies aside while its average is measured
        f"decoding {batch} rows": rollout + Bytes(weights=copy) + whole,
    }
    if critic != model:
        second = trace.training_pass(
            critic, rows=rows, width=columns, scored=scored, read="states", autocast=config.autocast
        )
        phases[f"updating the critic with {sequences} x {width} tokens"] = sharing.training(second, critic) + Bytes(
            gradients=sharing.share(policy.gradients)
        )
    named = {"the reference": start} | {
        name: one for name, one in scorer.frozen.items() if name != on.config.students[student].from_
    }
    for name, one in named.items():
        phases[f"scoring by {name}"] = scoring(one, width, new, min(SCORING_BATCH, mine)) + whole
    return {name: resident + found for name, found in phases.items()}


def weights(on: Setting, student: str) -> int:
    """Bytes of the weights of every model of `retort.trainers.ppo.models`; adapters share one copy of the start's."""
    config: PPOConfig = on.config.settings(student)
    start, from_ = on.start(student), on.config.students[student].from_
    scorer, adapted = _scorer(on, student, config), config.lora is not None
    model, value = trained(start, config, start.dtype), trace.weights(_critic(on, student, config, scorer))
    critic = value.gradients if adapted and config.critic_init == "policy" else value.weights
    reference = 0 if adapted else held([start])
    others = held(one for name, one in scorer.frozen.items() if name != from_)  # the start is the reference
    return held([model]) + critic + reference + scorer.own + others


def _critic(on: Setting, student: str, config: PPOConfig, scorer: Scorer) -> Model:
    """The critic's trunk; that of a reward whose trunk is not known is taken to be the policy's."""
    base = scorer.trunk if config.critic_init == "reward" and scorer.trunk is not None else on.start(student)
    return trained(base, config, base.dtype)


def _scorer(on: Setting, student: str, config: PPOConfig) -> Scorer:
    """What the reward that `student` is trained against has on the GPU."""
    name = on.config.reward_of(student)
    assert name is not None, "the method says that it is trained against one"
    kind, settings = on.config.reward_type(name), on.config.reward_settings(name)
    if not kind.trained:
        loaded = [one for one in kind.models(settings) if one in on.config.students or _here(on, one)]
        holds = f"on the GPU it has {', '.join(loaded)}" if loaded else "no model on the GPU"
        notes = [f"rewards.{name} is of type {kind.name}: {holds}; compute and time of its scoring are not counted"]
        if config.critic_init == "reward":
            notes.append(f"the critic starts from rewards.{name}, and is taken to be as large as the policy")
        return Scorer(frozen={one: on.model(one) for one in loaded}, counted=False, notes=tuple(notes))
    base, from_ = on.model(settings.trunk), on.config.students[student].from_
    full = trace.weights(base) if settings.lora is None else trace.weights(trained(base, settings, base.dtype))
    shares = config.lora is not None and settings.lora is not None and settings.trunk == from_
    own = full.gradients if shares else full.weights  # beside the policy's weights an adapter alone
    return Scorer(base, own, {one: on.model(one) for one in settings.likelihood})


def _here(on: Setting, model: str) -> bool:
    return bool(on.config.models[model].engine.WEIGHTS)


def _float32(size: int, model: Model) -> int:
    """Bytes of a copy in float32; adapters are in float32 already."""
    return 2 * size if model.dtype == "bfloat16" and model.lora is None else size


def _work(on: Setting, student: str, config: PPOConfig) -> Work:
    """Rollouts, scoring and updates, without the measurements of agreement."""
    scorer = _scorer(on, student, config)
    episodes = config.iterations * config.prompts_per_iteration * config.responses_per_prompt
    response = on.assume.response(config.max_new_tokens)
    tokens = episodes * (on.assume.prompt_tokens + response)
    size = trace.parameters(on.start(student))
    critic = trace.parameters(_critic(on, student, config, scorer))
    warm = min(config.critic_warmup, config.iterations) / config.iterations
    epochs = warm * config.critic_warmup_epochs + (1 - warm) * config.epochs
    # Reference, critic and the reward's models read the rollout; the policy writes it.
    readers = size + critic
    if scorer.counted:
        readers += sum(map(trace.parameters, [*filter(None, [scorer.trunk]), *scorer.frozen.values()]))
    return Work(
        generated=episodes * response,
        read=tokens,
        trained=tokens * epochs,
        decoding_flops=2.0 * size * tokens,
        reading_flops=2.0 * readers * tokens,
        training_flops=6.0 * (size + critic) * tokens * epochs,
    )
