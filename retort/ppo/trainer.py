"""PPO: rollout, score, advantages, update, checkpoint.

Keeps the policy that agrees best with the vote on held-out prompts, which needs no gold answers, and stops when that
agreement no longer rises.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from retort import interruption
from retort.checkpoint import Checkpoints
from retort.config.data import AnswerType
from retort.config.training import PPOConfig
from retort.curves import Curves
from retort.models import model_size
from retort.ppo.maths import adapted_kl_coefficient
from retort.ppo.rollout import Parts, respond, rollout
from retort.ppo.update import Optimizers, update
from retort.progress import Progress
from retort.sft.examples import agrees


@dataclass
class PPOState:
    """Everything that a killed run needs to go on as if nothing had happened; models and optimizers beside it."""

    iteration: int = 0
    kl_coefficient: float = 0.0
    best_agreement: float = -1.0
    best_iteration: int = 0
    best_policy: dict[str, torch.Tensor] = field(default_factory=dict)
    averaged_policy: dict[str, torch.Tensor] = field(default_factory=dict)
    """Moving average of the policy's weights over iterations; what is measured and kept."""
    first_agreement: float = 0.0
    """Agreement before the first update: the SFT student's."""
    stale: int = 0
    """Measurements since the best one."""
    tokens: int = 0
    """Tokens of all rollouts, prompts included."""
    flops: float = 0.0


def train(
    parts: Parts, config: PPOConfig, kind: AnswerType, *, seed: int, state_folder: Path, curves_folder: Path
) -> PPOState:
    """Train `parts.policy`; it ends with the weights of the best held-out agreement.

    Raises:
        TrainingError: a loss, gradient or reward is not a finite number.
        InterruptionError: the process was told to go; its checkpoint is of the last iteration.
    """
    optimizers = _optimizers(parts, config)
    checkpoints = Checkpoints(state_folder)
    state = PPOState(kl_coefficient=config.kl.coefficient)
    resume_step = -1  # rows of a run that was killed before its first checkpoint belong to work that is done again
    if (saved := checkpoints.load()) is not None:
        state = _restore(saved, parts, optimizers)
        resume_step = state.iteration
    with (
        interruption.deferred(),
        Curves(curves_folder, state_folder, resume_step=resume_step, tracker=config.tracker) as curves,
        Progress("ppo", total=config.iterations, unit="iterations", done=state.iteration) as progress,
    ):
        if state.iteration == 0:
            state.averaged_policy = _weights(parts)
            state.first_agreement = _measure(parts, config, kind, state)
            curves.log(0, agreement=state.first_agreement)
        while state.iteration < config.iterations and state.stale < config.patience:
            figures = _iterate(parts, config, optimizers, state, seed=seed)
            if state.iteration % config.evaluate_every == 0 or state.iteration == config.iterations:
                figures["agreement"] = _measure(parts, config, kind, state)
            curves.log(state.iteration, **figures)
            progress.update(reward=figures["reward"], kl=figures["kl"], agreement=state.best_agreement)
            if state.iteration % config.checkpoint_every == 0 or interruption.asked():
                checkpoints.save(state.iteration, _payload(parts, optimizers, state))
            interruption.check()
    parts.policy.load_state_dict(state.best_policy)
    return state


def _iterate(
    parts: Parts, config: PPOConfig, optimizers: Optimizers, state: PPOState, *, seed: int
) -> dict[str, float]:
    """One rollout and its update; advances `state`."""
    _set_learning_rates(config, optimizers, state.iteration)
    episodes = rollout(parts, config, seed=seed, iteration=state.iteration)
    figures = update(
        parts,
        episodes,
        config,
        optimizers,
        kl_coefficient=state.kl_coefficient,
        seed=seed,
        iteration=state.iteration,
    )
    figures["kl_coefficient"] = state.kl_coefficient
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
    state.flops += tokens * _flops_per_token(parts, config, state.iteration)
    state.iteration += 1
    for name, weights in parts.policy.state_dict().items():
        state.averaged_policy[name].lerp_(weights, 1.0 - config.average)
    return figures


def _flops_per_token(parts: Parts, config: PPOConfig, iteration: int) -> float:
    """2 x parameters a forward pass, 6 x a training pass (Kaplan et al. 2020, §2.1), of every model that sees it."""
    policy, critic = model_size(parts.policy), model_size(parts.critic.trunk)
    forward = policy + model_size(parts.reference) + critic + model_size(parts.reward.trunk)
    forward += sum(model_size(judge.model) for judge in parts.reward.judges.values())
    epochs = config.epochs if iteration >= config.critic_warmup else config.critic_warmup_epochs
    return 2.0 * forward + 6.0 * epochs * (policy + critic)


def _measure(parts: Parts, config: PPOConfig, kind: AnswerType, state: PPOState) -> float:
    """Share of held-out prompts whose response agrees with the vote; keeps the best policy."""
    trained = _weights(parts)
    parts.policy.load_state_dict(state.averaged_policy)
    samples = respond(parts, parts.held_out, config, temperature=config.evaluate_temperature, seed=0)
    parts.policy.load_state_dict(trained)
    texts = parts.tokenizer.batch_decode([s.ids for s in samples], skip_special_tokens=True)
    if parts.agree is not None:
        agreeing = parts.agree(parts.held_out, texts)
    else:
        pairs = zip(parts.held_out, texts, strict=True)
        agreeing = [prompt.label is not None and agrees(text, prompt.label, kind) for prompt, text in pairs]
    hits = [s.finished and agreed for s, agreed in zip(samples, agreeing, strict=True)]
    agreement = sum(hits) / len(hits)
    tokens = sum(len(prompt.ids) + len(s.ids) for prompt, s in zip(parts.held_out, samples, strict=True))
    state.flops += 2.0 * model_size(parts.policy) * tokens
    if agreement > state.best_agreement:
        state.best_agreement, state.best_iteration, state.stale = agreement, state.iteration, 0
        state.best_policy = {name: value.clone() for name, value in state.averaged_policy.items()}
    elif state.iteration > config.critic_warmup:
        state.stale += 1
    return agreement


def _weights(parts: Parts) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in parts.policy.state_dict().items()}


def _optimizers(parts: Parts, config: PPOConfig) -> Optimizers:
    rate = config.critic_learning_rate or config.learning_rate
    policy = [p for p in parts.policy.parameters() if p.requires_grad]
    trunk = [p for p in parts.critic.trunk.parameters() if p.requires_grad]
    critic = [
        {"params": trunk, "lr": rate},
        {"params": parts.critic.head_parameters(), "lr": config.critic_head_learning_rate or rate},
    ]
    return Optimizers(
        torch.optim.AdamW(policy, lr=config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.99)),
        torch.optim.AdamW(critic, weight_decay=config.weight_decay, betas=(0.9, 0.99)),
    )


def _set_learning_rates(config: PPOConfig, optimizers: Optimizers, iteration: int) -> None:
    """Zero during the critic's warm-up, then linear warm-up of the policy and linear decay to the last iteration.

    At rate zero Adam still gathers the gradients' moments: without them, its first steps move every weight by the
    whole learning rate in a direction that is mostly noise, which cost 15 points of agreement in trials.
    The SFT student comes out of a decayed schedule; a constant rate would throw its precision away and never regain it.
    """
    done = iteration - config.critic_warmup
    warm = 0.0 if done < 0 else min(1.0, (done + 1) / max(1, config.warmup_steps))
    decay = 1 - max(0, done) / max(1, config.iterations - config.critic_warmup)
    for group in optimizers.policy.param_groups:
        group["lr"] = config.learning_rate * warm * decay


def _payload(parts: Parts, optimizers: Optimizers, state: PPOState) -> dict[str, Any]:
    return {
        "state": state,
        "policy": parts.policy.state_dict(),
        "critic": parts.critic.state_dict(),
        "policy_optimizer": optimizers.policy.state_dict(),
        "critic_optimizer": optimizers.critic.state_dict(),
    }


def _restore(saved: dict[str, Any], parts: Parts, optimizers: Optimizers) -> PPOState:
    parts.policy.load_state_dict(saved["policy"])
    parts.critic.load_state_dict(saved["critic"])
    optimizers.policy.load_state_dict(saved["policy_optimizer"])
    optimizers.critic.load_state_dict(saved["critic_optimizer"])
    state: PPOState = saved["state"]
    return state
