"""Plan of a learned reward, which the stage `reward` trains."""

from __future__ import annotations

from retort.config.run import TEACHER
from retort.config.training import RewardConfig
from retort.plan import trace
from retort.plan.passes import held, mean, micro, new_tokens, scoring, trained, width
from retort.plan.setting import Setting, StagePlan
from retort.plan.speed import Work
from retort.plan.trace import Bytes, Model


def plan(on: Setting, reward: str) -> StagePlan:
    """Trunk in training, frozen models beside it, and two copies of the trunk: its best state, one being written."""
    config: RewardConfig = on.config.reward_settings(reward)
    base = on.model(config.trunk)
    full = config.train_trunk and config.lora is None
    trunk = trained(base, config, "float32" if full else base.dtype)  # full fine-tuning: copies in float32
    rows, columns = micro(config, on), width(on, config.max_length)
    sharing = on.sharing(config)
    shared = sharing.held(trunk)
    frozen = {name: on.model(name) for name in config.likelihood}
    resident = Bytes(weights=3 * shared.weights + held(frozen.values()))
    if config.train_trunk:
        one = trace.training_pass(trunk, rows=rows, width=columns, scored=1, read="states")
        one = sharing.training(one, trunk) + Bytes(optimizer=shared.optimizer)
    else:
        one = trace.scoring_pass(trunk, rows=rows, width=columns, scored=1, read="states")
    phases = {f"training {rows} x {columns} tokens": one}
    for name, model in frozen.items():
        phases[f"scoring by {name}"] = scoring(model, columns, new_tokens(on), 64)
    if sharing.processes > 1:
        most = config.micro_batch_size or config.batch_size
        measured = trace.scoring_pass(trunk, rows=most, width=columns, scored=1, read="states")
        phases["measuring the gathered trunk"] = measured + sharing.gathered(trunk)
    work = _work(on, config, trunk, [*frozen.values()])
    seconds = work.passes_s(on.device, on.assume, trunk.dtype, checkpointing=config.gradient_checkpointing)
    return StagePlan.fullest({name: resident + found for name, found in phases.items()}, work, seconds)


def _work(on: Setting, config: RewardConfig, trunk: Model, frozen: list[Model]) -> Work:
    length = mean(on, config.max_length)
    tokens, read = config.steps * config.batch_size * length, 0.0
    if on.assume.prompts is not None:
        read = (on.assume.prompts + on.config.prompts.validation) * _kept(on, config) * length
    return Work(
        trained=tokens,
        read=read,
        training_flops=6.0 * trace.parameters(trunk) * tokens,
        reading_flops=2.0 * sum(map(trace.parameters, frozen)) * read,
    )


def _kept(on: Setting, config: RewardConfig) -> int:
    """Examples kept of each prompt, of all models and students whose responses it reads."""
    stages = [
        on.config.teacher_responses if name == TEACHER else on.config.student_responses for name in config.responses
    ]
    each = [len(one.temperatures) * one.samples for one in stages]
    most = on.config.reward_data.max_per_prompt
    return sum(each if most is None else (min(most, count) for count in each))
