"""One PPO update: advantages of a rollout, then minibatches for policy and critic."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from retort.adapters import recompute_activations
from retort.config.training import PPOConfig
from retort.errors import TrainingError
from retort.likelihood import token_logprobs
from retort.ppo.maths import (
    Advantages,
    explained_variance,
    gae,
    kl_estimate,
    masked_mean,
    masked_sum,
    policy_loss,
    token_rewards,
    value_loss,
    whiten,
)
from retort.ppo.rollout import Parts, Rollout


@dataclass(frozen=True)
class Optimizers:
    """Optimizers of policy and critic."""

    policy: torch.optim.Optimizer
    critic: torch.optim.Optimizer


def leave_one_out(scores_B: Tensor, responses_per_prompt: int) -> Tensor:
    """Scores less the mean score of the other responses to the same prompt (RLOO, Ahmadian et al. 2024, eq. 7).

    Args:
        scores_B: Scores, the responses to one prompt next to each other, shape (B,).
        responses_per_prompt: K; with one response there is nothing to subtract.
    """
    if responses_per_prompt == 1:
        return scores_B
    groups = scores_B.view(-1, responses_per_prompt)
    others = (groups.sum(dim=1, keepdim=True) - groups) / (responses_per_prompt - 1)
    return (groups - others).view(-1)


def advantages(episodes: Rollout, config: PPOConfig, kl_coefficient: float) -> Advantages:
    """Advantages and returns of a rollout, both (B, T)."""
    mask = episodes.batch.response_mask_BT
    kl = kl_estimate(episodes.logprobs_BT, episodes.reference_BT, mask)
    scores = (
        leave_one_out(episodes.scores_B, config.responses_per_prompt) if config.prompt_baseline else episodes.scores_B
    )
    rewards = token_rewards(scores, kl, mask, kl_coefficient=kl_coefficient)
    values = episodes.values_BT
    found = gae(rewards, values, mask, gamma=config.gamma, lam=config.lam)
    returns = gae(rewards, values, mask, gamma=config.gamma, lam=config.critic_lam).returns
    return Advantages(whiten(found.advantages, mask) if config.whiten_advantages else found.advantages, returns)


def update(
    parts: Parts,
    episodes: Rollout,
    config: PPOConfig,
    optimizers: Optimizers,
    *,
    kl_coefficient: float,
    seed: int,
    iteration: int,
) -> dict[str, float]:
    """Train policy and critic on a rollout; during the critic's warm-up the policy's learning rate is zero.

    Returns:
        Figures of the iteration: rewards, KL, entropy, losses, clipped share, gradient norm.

    Raises:
        TrainingError: a loss is not a finite number.
    """
    found = advantages(episodes, config, kl_coefficient)
    generator = torch.Generator().manual_seed(seed * 15_485_863 + iteration)
    sums: dict[str, float] = {}
    count = 0
    if config.gradient_checkpointing:
        recompute_activations(parts.policy, parts.critic)
    for _ in range(config.epochs if iteration >= config.critic_warmup else config.critic_warmup_epochs):
        order = torch.randperm(len(episodes.scores_B), generator=generator)
        for index in order.split(config.minibatch_size):
            figures = _minibatch(parts, episodes, found, index.to(parts.device), config, optimizers)
            for name, value in figures.items():
                sums[name] = sums.get(name, 0.0) + value
            count += 1
    return {**_rollout_figures(episodes, found), **{name: value / count for name, value in sums.items()}}


def _minibatch(
    parts: Parts,
    episodes: Rollout,
    found: Advantages,
    index: Tensor,
    config: PPOConfig,
    optimizers: Optimizers,
) -> dict[str, float]:
    """One optimizer step of critic and policy; microbatches add up to exactly the minibatch's gradient."""
    total = episodes.batch.response_mask_BT[index].sum()
    figures = dict.fromkeys(("policy_loss", "value_loss", "clipped", "update_kl", "entropy"), 0.0)
    for rows in index.split(config.micro_batch_size or len(index)):
        batch = episodes.batch.rows(rows)
        length = batch.ids_BT.shape[1]
        mask = batch.response_mask_BT
        values = parts.critic(batch, episodes.features_BTF[rows, :length])
        critic_loss = value_loss(
            values,
            episodes.values_BT[rows, :length],
            found.returns[rows, :length],
            mask,
            clip=config.value_clip,
            total_tokens=total,
        )
        critic_loss.backward()
        figures["value_loss"] += critic_loss.item()
        logprobs, entropy = token_logprobs(parts.policy, batch, temperature=config.temperature, entropy=True)
        loss = policy_loss(
            logprobs,
            episodes.logprobs_BT[rows, :length],
            found.advantages[rows, :length],
            mask,
            clip=config.clip,
            total_tokens=total,
        )
        loss.loss.backward()
        figures["policy_loss"] += loss.loss.item()
        figures["clipped"] += loss.clipped.item()
        figures["update_kl"] += loss.kl.item()
        figures["entropy"] += float(masked_mean(entropy, mask, total))
    _step(parts.critic, optimizers.critic, config.max_grad_norm, "critic")
    figures["gradient_norm"] = _step(parts.policy, optimizers.policy, config.max_grad_norm, "policy")
    return figures


def _step(model: torch.nn.Module, optimizer: torch.optim.Optimizer, max_norm: float, name: str) -> float:
    norm = torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], max_norm)
    if not torch.isfinite(norm):
        raise TrainingError(
            f"the gradient of the {name} is {float(norm)}. Lower the learning rate; the last checkpoint is kept."
        )
    optimizer.step()
    optimizer.zero_grad()
    return float(norm)


def _rollout_figures(episodes: Rollout, found: Advantages) -> dict[str, float]:
    mask = episodes.batch.response_mask_BT
    kl = kl_estimate(episodes.logprobs_BT, episodes.reference_BT, mask)
    return {
        "reward": float(episodes.scores_B.mean()),
        "kl": float(masked_sum(kl, mask)) / len(episodes.scores_B),
        "response_tokens": float(mask.sum()) / len(episodes.scores_B),
        "finished": float(episodes.finished_B.float().mean()),
        "explained_variance": explained_variance(episodes.values_BT, found.returns, mask),
    }
