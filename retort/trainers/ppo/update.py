"""One PPO update: advantages of a rollout, then minibatches for policy and critic."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from retort.config.training import PPOConfig
from retort.modeling.fsdp import full_state
from retort.modeling.logprobs import token_logprobs
from retort.modeling.lora import recompute_activations
from retort.modeling.process_group import process_group
from retort.trainers.ppo.maths import (
    Advantages,
    explained_variance,
    gae,
    kl_estimate,
    masked_mean,
    masked_sum,
    policy_loss,
    sampler_weights,
    token_rewards,
    value_loss,
    whiten,
)
from retort.trainers.ppo.optimizers import Optimizers
from retort.trainers.ppo.rollout import PPOModels, Rollout


class NotFiniteError(Exception):
    """A loss or gradient of a minibatch is NaN or infinite.

    Attributes:
        tensors: What the minibatch was computed from, by name.
        found: Name and value of the first figure that is not finite.
        index: Episodes of the minibatch, by number.
    """

    def __init__(self, tensors: dict[str, Tensor], found: tuple[str, Tensor], index: list[int]):
        super().__init__(f"{found[0]} is not a finite number")
        self.tensors, self.found, self.index = tensors, found, index


def precision(config: PPOConfig, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """The precision of passes through the models: their own, or bfloat16 where autocast is on."""
    if not config.autocast:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


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


def advantages(
    episodes: Rollout, old_BT: Tensor, rewards_B: Tensor, config: PPOConfig, kl_coefficient: float
) -> Advantages:
    """Advantages and returns of a rollout, both (B, T).

    Args:
        episodes: The rollout.
        old_BT: Log-probability of each token under the policy that it was sampled from (`old_logprobs`).
        rewards_B: Shaped reward of each response.
        config: Settings.
        kl_coefficient: Weight of the KL penalty.
    """
    mask = episodes.batch.response_mask_BT
    kl = kl_estimate(old_BT, episodes.reference_BT, mask, estimator=config.kl.estimator)
    scores = leave_one_out(rewards_B, config.responses_per_prompt) if config.prompt_baseline else rewards_B
    rewards = token_rewards(scores, kl, mask, kl_coefficient=kl_coefficient)
    values = episodes.values_BT
    found = gae(rewards, values, mask, gamma=config.gamma, lam=config.lam)
    returns = gae(rewards, values, mask, gamma=config.gamma, lam=config.critic_lam).returns
    return Advantages(whiten(found.advantages, mask) if config.whiten_advantages else found.advantages, returns)


def update(
    models: PPOModels,
    episodes: Rollout,
    rewards_B: Tensor,
    config: PPOConfig,
    optimizers: Optimizers,
    *,
    kl_coefficient: float,
    seed: int,
    iteration: int,
) -> dict[str, float]:
    """Train policy and critic on a rollout; during the critic's warm-up the policy's learning rate is zero.

    Args:
        models: Policy and critic.
        episodes: The rollout.
        rewards_B: Shaped reward of each of its responses.
        config: Settings.
        optimizers: Of policy and critic.
        kl_coefficient: Weight of the KL penalty.
        seed: The run's seed; with the iteration it fixes the order of episodes.
        iteration: Number of the iteration, from 0.

    Returns:
        Figures of the iteration: KL, entropy, losses, clipped share, gradient norms, explained variance.

    Raises:
        NotFiniteError: a loss or gradient is not a finite number; no weight has seen it.
        TrainingError: what samples in the policy's place has other weights; nothing was learned from it.
    """
    generator = torch.Generator().manual_seed(seed * 15_485_863 + iteration)
    batches = [index.to(models.device) for index in minibatches(len(episodes.scores_B), config, generator)]
    sums: dict[str, float] = {}
    count = 0
    if config.gradient_checkpointing:
        recompute_activations(models.policy, models.critic)
    old_BT = old_logprobs(models, episodes, batches, config)
    if models.served is not None:
        mask = episodes.batch.response_mask_BT
        models.served.canary.check_rollout(float(masked_mean((old_BT - episodes.sampled_BT).abs(), mask)))
    found = advantages(episodes, old_BT, rewards_B, config, kl_coefficient)
    for _ in range(config.epochs if iteration >= config.critic_warmup else config.critic_warmup_epochs):
        # The same minibatches in another order: their passes round as those that gave the old log-probabilities.
        for number in torch.randperm(len(batches), generator=generator).tolist():
            figures = _minibatch(models, episodes, old_BT, found, batches[number], config, optimizers)
            for name, value in figures.items():
                sums[name] = sums.get(name, 0.0) + value
            count += 1
    return {
        **_rollout_figures(episodes, old_BT, found, config),
        **{name: value / count for name, value in sums.items()},
    }


def minibatches(episodes: int, config: PPOConfig, generator: torch.Generator) -> Sequence[Tensor]:
    """Numbers of the episodes of each minibatch, in random order, the responses to one prompt next to each other.

    Together they are packed behind one copy of their prompt, and policy and critic read it once.
    """
    group = config.responses_per_prompt
    firsts = group * torch.randperm(episodes // group, generator=generator)
    order = (firsts[:, None] + torch.arange(group)).flatten()
    return [order[start : start + config.minibatch_size] for start in range(0, episodes, config.minibatch_size)]


@torch.no_grad()
def old_logprobs(models: PPOModels, episodes: Rollout, batches: Sequence[Tensor], config: PPOConfig) -> Tensor:
    """Log-probability of each response token before the update, shape (B, T), by the passes of the update itself.

    The sampler's own would not do: a cache rounds otherwise than a pass over whole texts, in bfloat16 by a quarter of
    the probability, and rows that are packed with others otherwise than with these.

    Args:
        models: The policy.
        episodes: What it sampled.
        batches: Numbers of the episodes of each minibatch; together all of them.
        config: Settings.
    """
    workers = process_group()
    found = torch.zeros_like(episodes.sampled_BT)
    for index in batches:
        for rows, counts in workers.passes(index, config.micro_batch_size or len(index)):
            batch = episodes.batch.rows(rows)
            with precision(config, models.device):
                logprobs, _ = token_logprobs(models.policy, batch, temperature=config.temperature)
            if counts:
                found[rows, : batch.ids_BT.shape[1]] = logprobs
    return workers.sum_tensor(found)


@dataclass(frozen=True)
class _Microbatch:
    """Some episodes of a minibatch, as many as one pass takes."""

    models: PPOModels
    episodes: Rollout
    old_BT: Tensor
    """Log-probabilities before the update."""
    found: Advantages
    config: PPOConfig
    rows: Tensor
    """Numbers of the episodes."""
    total_tokens: Tensor | float
    """Response tokens of the whole minibatch."""


def _minibatch(
    models: PPOModels,
    episodes: Rollout,
    old_BT: Tensor,
    found: Advantages,
    index: Tensor,
    config: PPOConfig,
    optimizers: Optimizers,
) -> dict[str, float]:
    """One optimizer step of critic and policy.

    Microbatches, and the shares of a group's processes, add up to exactly the minibatch's gradient.
    """
    workers = process_group()
    total = episodes.batch.response_mask_BT[index].sum()
    figures = dict.fromkeys(("policy_loss", "value_loss", "clipped", "update_kl", "entropy"), 0.0)
    for rows, counts in workers.passes(index, config.micro_batch_size or len(index)):
        # Divided by infinity, a pass that another process has to wait for adds nothing.
        part = _Microbatch(models, episodes, old_BT, found, config, rows, total if counts else math.inf)
        for name, value in (_critic_pass(part) | _policy_pass(part)).items():
            figures[name] += value
    figures = workers.sum_figures(figures)
    for optimizer in (optimizers.critic, optimizers.policy):
        workers.sum_gradients(_parameters(optimizer))
    norms = {
        "critic_gradient_norm": _clipped_norm(optimizers.critic, config.max_grad_norm),
        "gradient_norm": _clipped_norm(optimizers.policy, config.max_grad_norm),
    }
    figures |= {name: float(norm) for name, norm in norms.items()}
    for name, value in figures.items():
        if not math.isfinite(value):
            inputs = {"old_logprobs": old_BT, "advantages": found.advantages, "returns": found.returns}
            seen = {key: tensor[index] for key, tensor in inputs.items()}
            raise NotFiniteError(seen, (name, torch.tensor(value)), index.tolist())
    for optimizer in (optimizers.critic, optimizers.policy):
        optimizer.step()
        optimizer.zero_grad()
    return figures


def _critic_pass(part: _Microbatch) -> dict[str, float]:
    """Gradient of the critic's loss on some episodes; their share of the minibatch's figures."""
    episodes, config = part.episodes, part.config
    batch = episodes.batch.rows(part.rows)
    length = batch.ids_BT.shape[1]
    with part.models.critic.using():
        with precision(config, part.models.device):
            values = part.models.critic(batch, episodes.features_BTF[part.rows, :length])
        loss = value_loss(
            values,
            episodes.values_BT[part.rows, :length],
            part.found.returns[part.rows, :length],
            batch.response_mask_BT,
            clip=config.value_clip,
            total_tokens=part.total_tokens,
        )
        loss.backward()
    return {"value_loss": loss.item()}


def _policy_pass(part: _Microbatch) -> dict[str, float]:
    """Gradient of the policy's loss on some episodes; their share of the minibatch's figures."""
    episodes, config = part.episodes, part.config
    batch = episodes.batch.rows(part.rows)
    length, mask = batch.ids_BT.shape[1], batch.response_mask_BT
    with precision(config, part.models.device):
        logprobs, entropy = token_logprobs(part.models.policy, batch, temperature=config.temperature, entropy=True)
    old_BT = part.old_BT[part.rows, :length]
    weights_BT = None
    if config.sampler_cap is not None:
        weights_BT = sampler_weights(old_BT, episodes.sampled_BT[part.rows, :length], mask, cap=config.sampler_cap)
    loss = policy_loss(
        logprobs,
        old_BT,
        part.found.advantages[part.rows, :length],
        mask,
        clip=config.clip,
        weights_BT=weights_BT,
        total_tokens=part.total_tokens,
    )
    loss.loss.backward()
    return {
        "policy_loss": loss.loss.item(),
        "clipped": loss.clipped.item(),
        "update_kl": loss.kl.item(),
        "entropy": float(masked_mean(entropy, mask, part.total_tokens)),
    }


def _clipped_norm(optimizer: torch.optim.Optimizer, max_norm: float) -> Tensor:
    """Scale the gradients of what `optimizer` trains down to `max_norm`; their norm before that."""
    norm: Tensor = full_state(torch.nn.utils.clip_grad_norm_(_parameters(optimizer), max_norm), everywhere=True)
    return norm


def _parameters(optimizer: torch.optim.Optimizer) -> list[torch.nn.Parameter]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def _rollout_figures(episodes: Rollout, old_BT: Tensor, found: Advantages, config: PPOConfig) -> dict[str, float]:
    mask = episodes.batch.response_mask_BT
    difference = old_BT - episodes.sampled_BT
    capped = difference > math.log(config.sampler_cap or math.inf)
    kl = kl_estimate(old_BT, episodes.reference_BT, mask)
    return {
        "score": float(episodes.scores_B.mean()),
        "score_deviation": float(episodes.scores_B.std(unbiased=False)),
        "kl": float(masked_sum(kl, mask)) / len(episodes.scores_B),
        # How far the sampler's arithmetic is from the training passes', nats a token, and tokens weighed at the cap.
        "sampler_difference": float(masked_mean(difference.abs(), mask)),
        "sampler_capped": float(masked_mean(capped.float(), mask)),
        "response_tokens": float(mask.sum()) / len(episodes.scores_B),
        "finished": float(episodes.finished_B.float().mean()),
        "explained_variance": explained_variance(episodes.values_BT, found.returns, mask),
    }
