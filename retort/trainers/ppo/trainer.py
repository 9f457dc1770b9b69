"""PPO: rollout, score, advantages, update, checkpoint.

Keeps the policy that agrees best with the vote on held-out prompts, which needs no gold answers, and stops when that
agreement no longer rises.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

import torch

from retort.config.data import AnswerType
from retort.config.training import PPOConfig
from retort.io.progress import Progress
from retort.modeling import preemption
from retort.modeling.checkpoint import Checkpoints
from retort.modeling.curves import Curves
from retort.modeling.fsdp import as_dtensor_like, full_state, load_optimizer, summon_full_params
from retort.modeling.loading import model_size
from retort.modeling.nonfinite import stop_training
from retort.trainers.ppo.alarms import Alarm, Figures, new_alarms
from retort.trainers.ppo.maths import adapted_kl_coefficient
from retort.trainers.ppo.optimizers import Optimizers, make_optimizers, set_learning_rates
from retort.trainers.ppo.rollout import PPOModels, Rollout, respond, rollout, weights_version
from retort.trainers.ppo.shaping import RunningMeanStd, penalised, shaped
from retort.trainers.ppo.update import NotFiniteError, precision, update
from retort.trainers.ppo.weights import Weights, load_weights, snapshot, trained_weights
from retort.trainers.shared.agreement import agreement

_log = logging.getLogger(__name__)


@dataclass
class PPOState:
    """Everything that a killed run needs to go on as if nothing had happened; models and optimizers beside it."""

    iteration: int = 0
    kl_coefficient: float = 0.0
    best_agreement: float = -1.0
    best_iteration: int = 0
    best_policy: Weights = field(default_factory=dict)
    averaged_policy: Weights = field(default_factory=dict)
    """Moving average of the policy's weights over iterations, in float32; what is measured and kept."""
    first_agreement: float = 0.0
    """Agreement before the first update: the SFT student's."""
    stale: int = 0
    """Measurements since the best one."""
    moments: RunningMeanStd = field(default_factory=RunningMeanStd)
    """Of all rewards so far."""
    history: list[Figures] = field(default_factory=list)
    """Figures of every iteration."""
    alarms: list[Alarm] = field(default_factory=list)
    tokens: int = 0
    """Tokens of all rollouts, prompts included."""
    unlabelled_episodes: int = 0
    """Episodes whose prompt the teacher never answered."""
    flops: float = 0.0

    def ended(self, config: PPOConfig) -> bool:
        """Whether training is over: all iterations done, patience at its end, or stopped by an alarm."""
        stopped = bool(self.alarms) and config.alarms.action == "stop"
        return self.iteration >= config.iterations or self.stale >= config.patience or stopped


def train(
    models: PPOModels, config: PPOConfig, kind: AnswerType, *, seed: int, state_folder: Path, curves_folder: Path
) -> PPOState:
    """Train `models.policy`; it ends with the weights of the best held-out agreement.

    Raises:
        TrainingError: a loss, gradient or reward is not a finite number, or what samples has other weights.
        EngineError: what samples failed.
        InterruptionError: the process was told to go; its checkpoint is of the last iteration.
    """
    optimizers = make_optimizers(models, config)
    checkpoints = Checkpoints(state_folder)
    state = PPOState(kl_coefficient=config.kl.coefficient)
    resume_step = -1  # rows of a run that was killed before its first checkpoint belong to work that is done again
    if (saved := checkpoints.load()) is not None:
        state = _restore(saved, models, optimizers)
        resume_step = state.iteration
    curves = Curves(curves_folder, state_folder, resume_step=resume_step)
    with (
        preemption.deferred(),
        Progress("ppo", total=config.iterations, unit="iterations", done=state.iteration) as progress,
    ):
        if state.iteration == 0:
            state.averaged_policy = snapshot(models.policy)
            state.first_agreement = _measure(models, config, kind, state)
            curves.log(0, agreement=state.first_agreement)
        while not state.ended(config):
            figures = _iterate(models, config, optimizers, state, seed=seed, state_folder=state_folder)
            if state.iteration % config.evaluate_every == 0 or state.iteration == config.iterations:
                figures["agreement"] = _measure(models, config, kind, state)
            _watch(config, state, figures)
            curves.log(state.iteration, **figures)
            progress.update(reward=figures["reward"], kl=figures["kl"], agreement=state.best_agreement)
            if state.iteration % config.checkpoint_every == 0 or preemption.asked():
                checkpoints.save(state.iteration, _payload(models, optimizers, state))
            preemption.check()
    load_weights(models.policy, state.best_policy)
    return state


def _iterate(
    models: PPOModels, config: PPOConfig, optimizers: Optimizers, state: PPOState, *, seed: int, state_folder: Path
) -> Figures:
    """One rollout and its update; advances `state`."""
    set_learning_rates(config, optimizers, state.iteration)
    with summon_full_params(models.policy, models.critic), precision(config, models.device):
        episodes = rollout(models, config, seed=seed, iteration=state.iteration)
    _check(models, episodes, state, state_folder)
    tokens_B = episodes.batch.response_mask_BT.sum(dim=1)
    rewards_B = penalised(episodes.scores_B, episodes.finished_B, tokens_B, config)
    figures = {"reward": float(rewards_B.mean()), "kl_coefficient": state.kl_coefficient}
    if models.served is not None:
        figures["canary_difference"] = models.served.difference
    try:
        figures |= update(
            models,
            episodes,
            shaped(rewards_B, config, state.moments),
            config,
            optimizers,
            kl_coefficient=state.kl_coefficient,
            seed=seed,
            iteration=state.iteration,
        )
    except NotFiniteError as error:
        _stop(models, episodes, error, state, state_folder)
    if config.kl.target is not None and state.iteration >= config.critic_warmup:
        state.kl_coefficient = adapted_kl_coefficient(
            state.kl_coefficient,
            figures["kl"],
            target=config.kl.target,
            horizon=config.kl.horizon,
            episodes=len(episodes.scores_B),
        )
    tokens = int(episodes.batch.attention_mask_BT.sum())
    state.tokens += tokens
    state.unlabelled_episodes += episodes.unlabelled
    state.flops += tokens * _flops_per_token(models, config, state.iteration)
    state.iteration += 1
    for name, weights in trained_weights(models.policy).items():
        state.averaged_policy[name].lerp_(weights.detach().float(), 1.0 - config.average)
    return figures


def _check(models: PPOModels, episodes: Rollout, state: PPOState, state_folder: Path) -> None:
    """Refuse scores that are not finite."""
    if not bool(episodes.scores_B.isfinite().all()):
        broken = (~episodes.scores_B.isfinite()).nonzero().flatten()
        error = NotFiniteError({}, ("scores", episodes.scores_B[broken]), broken.tolist())
        _stop(models, episodes, error, state, state_folder)


def _stop(models: PPOModels, episodes: Rollout, error: NotFiniteError, state: PPOState, state_folder: Path) -> NoReturn:
    mask, lengths = episodes.batch.response_mask_BT.bool(), episodes.batch.attention_mask_BT.sum(dim=1)
    rows = []
    for row in error.index:
        ids, response = episodes.batch.ids_BT[row], mask[row]
        prompt = ids[: int(lengths[row])][~response[: int(lengths[row])]]
        texts = models.tokenizer.batch_decode([prompt.tolist(), ids[response].tolist()], skip_special_tokens=False)
        rows.append({"prompt": texts[0], "response": texts[1], "score": float(episodes.scores_B[row])})
    stop_training(
        "ppo",
        step=state.iteration + 1,
        modules={"policy": models.policy, "critic": models.critic},
        tensors=error.tensors,
        found=error.found,
        batch=rows,
        state=state_folder,
        remedy="Lower ppo.learning_rate, or look at the batch; the last checkpoint is kept.",
    )


def _watch(config: PPOConfig, state: PPOState, figures: Figures) -> None:
    """Keep the figures of an iteration and raise the alarms that they give cause for."""
    state.history.append(dict(figures))
    raised = {alarm.kind for alarm in state.alarms}
    for alarm in new_alarms(state.history, config.alarms, warmup=config.critic_warmup, raised=raised):
        _log.warning("ppo, iteration %d: %s", alarm.iteration, alarm.message)
        state.alarms.append(alarm)


def _flops_per_token(models: PPOModels, config: PPOConfig, iteration: int) -> float:
    """2 x parameters a forward pass, 6 x a training pass (Kaplan et al. 2020, §2.1), of every model that sees it."""
    policy, critic = model_size(models.policy), model_size(models.critic.trunk)
    # The policy reads twice: to sample, and for the log-probabilities that the update starts from.
    forward = 2 * policy + model_size(models.reference) + critic
    epochs = config.epochs if iteration >= config.critic_warmup else config.critic_warmup_epochs
    return 2.0 * forward + models.reward.flops_per_token + 6.0 * epochs * (policy + critic)


def _measure(models: PPOModels, config: PPOConfig, kind: AnswerType, state: PPOState) -> float:
    """Share of held-out prompts whose response agrees with the vote; keeps the best policy."""
    trained = snapshot(models.policy)
    load_weights(models.policy, state.averaged_policy)
    with summon_full_params(models.policy), precision(config, models.device):
        version = weights_version(config, state.iteration, averaged=True)
        temperature = config.evaluate_temperature
        samples = respond(models, models.held_out, config, temperature=temperature, seed=0, version=version)
    load_weights(models.policy, trained)
    measured = agreement(
        models.held_out, samples, tokenizer=models.tokenizer, ends=models.ends, kind=kind, agree=models.agree
    )
    tokens = sum(len(prompt.ids) + len(s.ids) for prompt, s in zip(models.held_out, samples, strict=True))
    state.flops += 2.0 * model_size(models.policy) * tokens
    if measured > state.best_agreement:
        state.best_agreement, state.best_iteration, state.stale = measured, state.iteration, 0
        state.best_policy = {name: value.clone() for name, value in state.averaged_policy.items()}
    elif state.iteration > config.critic_warmup:
        state.stale += 1
    return measured


def _payload(models: PPOModels, optimizers: Optimizers, state: PPOState) -> dict[str, Any]:
    """What a checkpoint holds: whole tensors, so that another number of processes can go on from it."""
    kept = {"best_policy": full_state(state.best_policy), "averaged_policy": full_state(state.averaged_policy)}
    payload: dict[str, Any] = full_state(
        {
            "policy": {name: value.detach() for name, value in trained_weights(models.policy).items()},
            "critic": {name: value.detach() for name, value in models.critic.trained().items()},
            "policy_optimizer": optimizers.policy.state_dict(),
            "critic_optimizer": optimizers.critic.state_dict(),
        }
    )
    return payload | {"state": replace(state, **kept)}


def _restore(saved: dict[str, Any], models: PPOModels, optimizers: Optimizers) -> PPOState:
    load_weights(models.policy, saved["policy"])
    with torch.no_grad():
        for name, value in models.critic.trained().items():
            value.copy_(as_dtensor_like(saved["critic"][name], value))
    load_optimizer(optimizers.policy, saved["policy_optimizer"])
    load_optimizer(optimizers.critic, saved["critic_optimizer"])
    state: PPOState = saved["state"]
    for weights in (state.best_policy, state.averaged_policy):
        weights |= {
            name: as_dtensor_like(weights[name], value) for name, value in trained_weights(models.policy).items()
        }
    return state
