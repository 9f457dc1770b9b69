"""Plans of the stages that train: SFT and its baseline, reward model, PPO.

What is on the GPU follows the stages' code; FLOPs are counted as the stages count theirs: 2 x parameters a token read,
6 x a token trained on (Kaplan et al. 2020, §2.1), adapters or not.
"""

from __future__ import annotations

import math

from retort.config.training import OptimizerConfig
from retort.modeling.logprobs import MOST_SCORES
from retort.plan import trace
from retort.plan.setting import Setting, StagePlan
from retort.plan.speed import Work, batch_s
from retort.plan.trace import Bytes, Model

SCORING_BATCH = 128
"""Rows of a pass without gradient in PPO (`retort.trainers.ppo.rollout.SCORING_BATCH`)."""


def sft(on: Setting) -> StagePlan:
    """The warm-up."""
    tokens = on.config.sft.steps * on.config.sft.batch_size * _mean(on, on.config.sft.max_length)
    work = Work(trained=tokens, training_flops=6.0 * trace.parameters(on.student) * tokens)
    return _fine_tuning("sft", work, on)


def sft_equal_compute(on: Setting) -> StagePlan:
    """The warm-up's steps, and as many more as PPO's compute pays for."""
    each = 6.0 * trace.parameters(on.student)
    step = on.config.sft.batch_size * _mean(on, on.config.sft.max_length)
    extra = ppo_work(on).flops / each / step
    if (bound := on.config.sft_equal_compute.max_extra_steps) is not None:
        extra = min(extra, bound)
    tokens = (on.config.sft.steps + extra) * step
    return _fine_tuning("sft_equal_compute", Work(trained=tokens, training_flops=each * tokens), on)


def reward(on: Setting) -> StagePlan:
    """Trunk in training, judges beside it, and two copies of the trunk: its best state, and one being written."""
    config = on.config.reward
    base = reward_base(on)
    full = config.train_trunk and config.lora is None
    trunk = _trained(base, config, "float32" if full else base.dtype)  # full fine-tuning: copies in float32
    rows, width, new = _micro(config, on), _width(on, config.max_length), _new_tokens(on)
    sharing = on.sharing(config)
    held = sharing.held(trunk)
    resident = Bytes(weights=3 * held.weights + sum(trace.weights(one).weights for one in on.judges()))
    if config.train_trunk:
        one = trace.training_pass(trunk, rows=rows, width=width, scored=1, read="states")
        one = sharing.training(one, trunk) + Bytes(optimizer=held.optimizer)
    else:
        one = trace.scoring_pass(trunk, rows=rows, width=width, scored=1, read="states")
    phases = {f"training {rows} x {width} tokens": one}
    for judge in on.judges():
        name = "scoring by the teacher" if judge is on.teacher else "scoring by the student"
        phases[name] = _scoring(judge, width, new, 64)
    if sharing.processes > 1:
        most = config.micro_batch_size or config.batch_size
        measured = trace.scoring_pass(trunk, rows=most, width=width, scored=1, read="states")
        phases["measuring the gathered trunk"] = measured + sharing.gathered(trunk)
    work = _reward_work(trunk, on)
    seconds = work.passes_s(on.device, on.assume, trunk.dtype, checkpointing=config.gradient_checkpointing)
    return StagePlan.fullest("reward", {name: resident + found for name, found in phases.items()}, work, seconds)


def ppo(on: Setting) -> StagePlan:
    """Policy and critic in training, the other models frozen, and two copies of what the policy trains."""
    config = on.config.ppo
    model = _trained(on.student, config, on.student.dtype)
    sharing, held = on.sharing(config), trace.weights(model)
    copy = sharing.share(_float32(held.gradients, model))
    whole = sharing.gathered(model, model)  # policy and critic, in a rollout
    resident = Bytes(weights=_ppo_weights(model, on) + 2 * copy, optimizer=2 * sharing.share(held.optimizer))
    resident += Bytes(weights=-whole.weights)
    episodes = config.prompts_per_iteration * config.responses_per_prompt
    mine = math.ceil(episodes / on.processes)
    batch = min(mine, config.generation_batch_size)
    prompts = math.ceil(batch / config.responses_per_prompt)
    prompt, new, each = on.assume.longest_prompt, config.max_new_tokens, config.responses_per_prompt
    sequences, width = _micro(config, on), prompt + new
    rows, columns, scored = trace.packed(
        model, sequences=sequences, responses_per_prompt=each, prompt=prompt, response=new
    )
    policy = trace.training_pass(
        model, rows=rows, width=columns, scored=scored, read="logprobs", autocast=config.autocast
    )
    rollout = trace.generation(model.frozen(), rows=batch, prompts=prompts, prompt=prompt, response=new)
    phases = {
        # and the critic's gradients
        f"updating with {sequences} x {width} tokens": sharing.training(policy, model)
        + Bytes(gradients=sharing.share(held.gradients)),
        # what is trained lies aside while its average is measured
        f"decoding {batch} rows": rollout + Bytes(weights=copy) + whole,
    }
    batch = min(SCORING_BATCH, mine)
    for judge in dict.fromkeys([on.student, *on.judges()]):
        name = "scoring by the teacher" if judge is on.teacher else "scoring by the reference"
        phases[name] = _scoring(judge, width, new, batch) + whole
    work = ppo_work(on)
    seconds = work.passes_s(on.device, on.assume, model.dtype, checkpointing=config.gradient_checkpointing)
    batches = config.iterations * math.ceil(episodes / config.generation_batch_size)
    alone = min(episodes, config.generation_batch_size)
    seconds += batches * batch_s(on.student, alone, config.max_new_tokens, on.device, on.assume)
    return StagePlan.fullest("ppo", {name: resident + found for name, found in phases.items()}, work, seconds)


def _ppo_weights(model: Model, on: Setting) -> int:
    """Weights of every model of `retort.trainers.ppo.models`; adapters share one copy of the student's."""
    config, held = on.config.ppo, trace.weights(model)
    adapted = config.lora is not None
    critic = held.gradients if adapted and config.critic_init == "policy" else held.weights
    reference = 0 if adapted else trace.weights(on.student).weights
    others = [judge for judge in on.judges() if judge is not on.student]
    if adapted and on.config.reward.lora is not None and on.config.reward.init == "sft":
        reward = trace.weights(_trained(on.student, on.config.reward, on.student.dtype)).gradients  # its adapter's size
    else:
        reward = trace.weights(reward_base(on)).weights
    return held.weights + critic + reference + reward + sum(trace.weights(one).weights for one in others)


def _float32(size: int, model: Model) -> int:
    """Bytes of a copy in float32; adapters are in float32 already."""
    return 2 * size if model.dtype == "bfloat16" and model.lora is None else size


def reward_base(on: Setting) -> Model:
    """The model that the reward model's trunk starts from."""
    return on.teacher if on.config.reward.init == "teacher" and on.teacher is not None else on.student


def ppo_work(on: Setting) -> Work:
    """Rollouts, scoring and updates, without the measurements of agreement."""
    config = on.config.ppo
    episodes = config.iterations * config.prompts_per_iteration * config.responses_per_prompt
    response = on.assume.response(config.max_new_tokens)
    tokens = episodes * (on.assume.prompt_tokens + response)
    size = trace.parameters(on.student)
    warm = min(config.critic_warmup, config.iterations) / config.iterations
    epochs = warm * config.critic_warmup_epochs + (1 - warm) * config.epochs
    # reference, critic, reward trunk and judges read the rollout; the policy writes it
    readers = 3 * size + sum(trace.parameters(judge) for judge in on.judges())
    return Work(
        generated=episodes * response,
        read=tokens,
        trained=tokens * epochs,
        decoding_flops=2.0 * size * tokens,
        reading_flops=2.0 * readers * tokens,
        training_flops=12.0 * size * tokens * epochs,
    )


def _fine_tuning(stage: str, work: Work, on: Setting) -> StagePlan:
    config = on.config.sft
    model = _trained(on.student, config, on.student.dtype)
    rows, width, sharing = _micro(config, on), _width(on, config.max_length), on.sharing(config)
    new = min(width, on.config.teacher_responses.max_new_tokens)
    one = trace.training_pass(model, rows=rows, width=width, scored=new, read="loss", autocast=on.autocast)
    memory = sharing.training(one, model) + sharing.held(model)
    seconds = work.passes_s(on.device, on.assume, "bfloat16", checkpointing=config.gradient_checkpointing)
    return StagePlan.fullest(stage, {f"training {rows} x {width} tokens": memory}, work, seconds)


def _reward_work(trunk: Model, on: Setting) -> Work:
    config = on.config.reward
    mean = _mean(on, config.max_length)
    tokens, read = config.steps * config.batch_size * mean, 0.0
    if on.assume.prompts is not None:
        kept = sum(
            min(on.config.reward_data.max_per_prompt, len(one.temperatures) * one.samples)
            for one in (on.config.teacher_responses, on.config.student_responses)
        )
        read = (on.assume.prompts + on.config.prompts.validation) * kept * mean
    return Work(
        trained=tokens,
        read=read,
        training_flops=6.0 * trace.parameters(trunk) * tokens,
        reading_flops=2.0 * sum(trace.parameters(judge) for judge in on.judges()) * read,
    )


def _scoring(model: Model, width: int, new_tokens: int, batch: int) -> Bytes:
    rows = max(1, min(batch, MOST_SCORES // model.vocabulary // width))
    return trace.scoring_pass(model.frozen(), rows=rows, width=width, scored=min(new_tokens, width))


def _trained(base: Model, config: OptimizerConfig, dtype: trace.Precision) -> Model:
    lora = getattr(config, "lora", None)
    return trace.describe(base.config, dtype, lora=lora, checkpointing=config.gradient_checkpointing)


def _micro(config: OptimizerConfig, on: Setting) -> int:
    """Rows of a pass with gradient."""
    whole = int(getattr(config, "batch_size", 0) or getattr(config, "minibatch_size", 1))
    whole = math.ceil(whole / on.processes)
    return min(getattr(config, "micro_batch_size", None) or whole, whole)


def _new_tokens(on: Setting) -> int:
    return max(on.config.teacher_responses.max_new_tokens, on.config.student_responses.max_new_tokens)


def _width(on: Setting, most: int) -> int:
    return min(most, on.assume.longest_prompt + _new_tokens(on))


def _mean(on: Setting, most: int) -> float:
    return min(most, on.assume.prompt_tokens + on.assume.response(on.config.teacher_responses.max_new_tokens))
