"""The mathematics of PPO as functions of tensors: no configuration, no models, no logging.

Legend: B responses, T positions. `response_mask_BT` is 1 where a position is a token of the response and counts,
0 at prompts, padding and after EOS. Position t holds what belongs to the t-th token: its log-probability, the
value of the state it was chosen in, the reward that followed it.

Sources: PPO, Schulman et al. 2017 (arXiv 1707.06347); GAE, Schulman et al. 2016 (arXiv 1506.02438); RLHF, Ziegler
et al. 2019 (arXiv 1909.08593); KL estimators, Schulman 2020, "Approximating KL divergence".
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PolicyLoss:
    """Loss of the policy with what to watch beside it; all scalars."""

    loss: Tensor
    clipped: Tensor
    """Share of tokens whose ratio the clip held back."""
    kl: Tensor
    """Estimate (k3) of the KL from the policy that sampled to the current one, nats a token."""


def masked_sum(x_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Sum over positions that count; what lies elsewhere is ignored, even if it is not finite."""
    return torch.where(mask_BT.bool(), x_BT, torch.zeros_like(x_BT)).sum()


def masked_mean(x_BT: Tensor, mask_BT: Tensor, total: Tensor | float | None = None) -> Tensor:
    """Mean over positions that count.

    Args:
        x_BT: Values, shape (B, T).
        mask_BT: 1 where a position counts, shape (B, T).
        total: Number of positions that count in the whole batch, when this is only a part of it: the parts' means
            then add up to the mean of the whole, however it was cut (microbatches, devices).
    """
    return masked_sum(x_BT, mask_BT) / (mask_BT.sum() if total is None else total)


def whiten(x_BT: Tensor, mask_BT: Tensor, *, shift: bool = True) -> Tensor:
    """Scale to variance 1, and shift to mean 0 if asked, over positions that count; the others become 0.

    Divides by the standard deviation with Bessel's correction; values that are all equal become 0 (or stay, without
    shift) instead of infinite.
    """
    mean = masked_mean(x_BT, mask_BT)
    count = mask_BT.sum()
    variance = masked_sum((x_BT - mean) ** 2, mask_BT) / (count - 1).clamp(min=1)
    scaled = (x_BT - mean) / (variance.sqrt() + 1e-8)
    return torch.where(mask_BT.bool(), scaled if shift else scaled + mean, torch.zeros_like(x_BT))


def token_rewards(score_B: Tensor, kl_BT: Tensor, response_mask_BT: Tensor, *, kl_coefficient: float) -> Tensor:
    """Reward of each token: minus the KL penalty, and the response's score on its last token (Ziegler et al., eq. 2).

    Args:
        score_B: Score of each whole response, shape (B,).
        kl_BT: Estimate of the KL to the reference at each token, shape (B, T).
        response_mask_BT: 1 at response tokens, shape (B, T); every row has at least one.
        kl_coefficient: Weight of the penalty (beta).

    Returns:
        Rewards, shape (B, T); 0 where the mask is 0.
    """
    rewards = torch.where(response_mask_BT.bool(), -kl_coefficient * kl_BT, torch.zeros_like(kl_BT))
    rows = torch.arange(len(score_B), device=score_B.device)
    rewards[rows, last_position(response_mask_BT)] += score_B
    return rewards


def last_position(mask_BT: Tensor) -> Tensor:
    """Index of the last position that counts in each row, shape (B,)."""
    positions = torch.arange(mask_BT.shape[1], device=mask_BT.device)
    return (mask_BT * positions).argmax(dim=1)


@dataclass(frozen=True)
class Advantages:
    """Generalised advantages and the returns that the critic learns; both (B, T), 0 where the mask is 0."""

    advantages: Tensor
    returns: Tensor


def gae(rewards_BT: Tensor, values_BT: Tensor, response_mask_BT: Tensor, *, gamma: float, lam: float) -> Advantages:
    """Generalised advantage estimation (GAE, eq. 11, 12 and 16), with the episode ending at its last token.

    delta_t = r_t + gamma V_{t+1} - V_t and A_t = delta_t + gamma lambda A_{t+1}, with V and A zero after the end;
    returns are A_t + V_t. A row's response tokens are consecutive.

    Args:
        rewards_BT: Reward that followed each token.
        values_BT: Value of the state in which each token was chosen.
        response_mask_BT: 1 at response tokens.
        gamma: Discount.
        lam: Weight of longer estimates: 0 is one-step TD, 1 is Monte Carlo.
    """
    mask = response_mask_BT.to(values_BT.dtype)
    values = torch.where(response_mask_BT.bool(), values_BT, torch.zeros_like(values_BT))
    rewards = torch.where(response_mask_BT.bool(), rewards_BT, torch.zeros_like(rewards_BT))
    advantages = torch.zeros_like(values)
    next_value = torch.zeros_like(values[:, 0])
    next_advantage = torch.zeros_like(values[:, 0])
    for t in reversed(range(values.shape[1])):
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        advantages[:, t] = (delta + gamma * lam * next_advantage) * mask[:, t]
        next_value, next_advantage = values[:, t], advantages[:, t]
    return Advantages(advantages, torch.where(response_mask_BT.bool(), advantages + values, torch.zeros_like(values)))


def policy_loss(
    new_BT: Tensor,
    old_BT: Tensor,
    advantages_BT: Tensor,
    response_mask_BT: Tensor,
    *,
    clip: float,
    weights_BT: Tensor | None = None,
    total_tokens: Tensor | float | None = None,
) -> PolicyLoss:
    """Clipped surrogate loss (PPO, eq. 7), negated because optimizers descend, mean over tokens.

    Args:
        new_BT: Log-probability of each token under the policy that is trained.
        old_BT: Log-probability under the policy before this update, by the same passes as `new_BT`.
        advantages_BT: Advantage of each token.
        response_mask_BT: 1 at response tokens.
        clip: Half-width of the interval around 1 that the ratio is clipped to.
        weights_BT: Weight of each token, of `sampler_weights`; all 1 when left out.
        total_tokens: See `masked_mean`.
    """
    # Zeroed before exp: what stands at padding must not become inf, and inf * 0 is nan in the gradient.
    log_ratio = torch.where(response_mask_BT.bool(), new_BT - old_BT, torch.zeros_like(new_BT))
    ratio = log_ratio.exp()
    unclipped = ratio * advantages_BT
    clipped = ratio.clamp(1 - clip, 1 + clip) * advantages_BT
    loss = -torch.minimum(unclipped, clipped)
    if weights_BT is not None:
        loss = torch.where(response_mask_BT.bool(), loss * weights_BT, torch.zeros_like(loss))
    with torch.no_grad():
        held = (clipped < unclipped).to(loss.dtype)
        kl = kl_estimate(old_BT, new_BT, response_mask_BT, estimator="k3")
    return PolicyLoss(
        loss=masked_mean(loss, response_mask_BT, total_tokens),
        clipped=masked_mean(held, response_mask_BT, total_tokens),
        kl=masked_mean(kl, response_mask_BT, total_tokens),
    )


def sampler_weights(old_BT: Tensor, sampled_BT: Tensor, response_mask_BT: Tensor, *, cap: float) -> Tensor:
    """Truncated importance weights min(p_old / p_sampler, cap) of tokens that a sampler drew (Ionides 2008).

    They correct for what the sampler's arithmetic does to the distribution that tokens were drawn from, as in Yao et
    al. 2025, "Your efficient RL framework secretly brings you off-policy RL training".

    Args:
        old_BT: Log-probability of each token by the training model's own pass.
        sampled_BT: The sampler's.
        response_mask_BT: 1 at response tokens.
        cap: Largest weight.

    Returns:
        Weights, shape (B, T); 1 where the mask is 0.
    """
    difference = torch.where(response_mask_BT.bool(), old_BT - sampled_BT, torch.zeros_like(old_BT))
    return difference.exp().clamp(max=cap)


def value_loss(
    new_BT: Tensor,
    old_BT: Tensor,
    returns_BT: Tensor,
    response_mask_BT: Tensor,
    *,
    clip: float | None,
    total_tokens: Tensor | float | None = None,
) -> Tensor:
    """Half the squared error of the critic, pessimistically clipped (Ziegler et al.'s code; PPO2), mean over tokens.

    Args:
        new_BT: Values that the critic gives now.
        old_BT: Values that it gave when the rollout was made.
        returns_BT: What it should give.
        response_mask_BT: 1 at response tokens.
        clip: Largest change from `old_BT` that can lower the loss; None for the plain squared error.
        total_tokens: See `masked_mean`.
    """
    # Zeroed before the square: what stands at padding must not become inf, and inf * 0 is nan in the gradient.
    keep = response_mask_BT.bool()
    new_BT, old_BT, returns_BT = (torch.where(keep, x, torch.zeros_like(x)) for x in (new_BT, old_BT, returns_BT))
    error = (new_BT - returns_BT) ** 2
    if clip is not None:
        near = old_BT + (new_BT - old_BT).clamp(-clip, clip)
        error = torch.maximum(error, (near - returns_BT) ** 2)
    return 0.5 * masked_mean(error, response_mask_BT, total_tokens)


def kl_estimate(logp_BT: Tensor, reference_BT: Tensor, response_mask_BT: Tensor, *, estimator: str = "k1") -> Tensor:
    """Estimate KL(policy || reference) at each token from a sample of the policy (Schulman 2020).

    With log-ratio d = logp - reference: k1 = d is unbiased and has high variance; k2 = d^2 / 2 has low variance and
    bias; k3 = exp(-d) - 1 + d is unbiased and never negative.

    Returns:
        Estimates in nats, shape (B, T); 0 where the mask is 0.

    Raises:
        ValueError: there is no such estimator.
    """
    difference = torch.where(response_mask_BT.bool(), logp_BT - reference_BT, torch.zeros_like(logp_BT))
    if estimator == "k1":
        return difference
    if estimator == "k2":
        return difference**2 / 2
    if estimator == "k3":
        return torch.exp(-difference) - 1 + difference
    raise ValueError(f"no KL estimator {estimator!r}; known: k1, k2, k3")


def adapted_kl_coefficient(coefficient: float, kl: float, *, target: float, horizon: int, episodes: int) -> float:
    """The KL coefficient after a rollout, by the log-space proportional controller of Ziegler et al. 2019, §2.2.

    error = clip(KL / target - 1, -0.2, 0.2); coefficient <- coefficient (1 + error * episodes / horizon).

    Args:
        coefficient: Coefficient so far.
        kl: Measured KL of the rollout, nats a response.
        target: KL to steer to.
        horizon: Episodes over which the coefficient changes by the factor 1 + error.
        episodes: Episodes of the rollout.
    """
    error = min(max(kl / target - 1.0, -0.2), 0.2)
    return coefficient * (1.0 + error * episodes / horizon)


def explained_variance(values_BT: Tensor, returns_BT: Tensor, response_mask_BT: Tensor) -> float:
    """1 - Var(returns - values) / Var(returns) over response tokens: 1 is a perfect critic, 0 a constant one."""
    keep = response_mask_BT.bool()
    returns, errors = returns_BT[keep], (returns_BT - values_BT)[keep]
    variance = returns.var(unbiased=False)
    return float(1 - errors.var(unbiased=False) / variance) if variance > 0 else 0.0
