"""From the reward model's score of a response to the reward that PPO is given."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from retort.config.training import PPOConfig


@dataclass
class RunningMeanStd:
    """Running mean and variance of all rewards so far (Chan et al. 1983, eq. 2.1: parts are merged exactly)."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    """Sum of squared distances from the mean."""

    def update(self, values: Tensor) -> None:
        """Take in more values, any shape."""
        values = values.double()
        count, mean = values.numel(), float(values.mean())
        distance, total = mean - self.mean, self.count + count
        self.squares += float(((values - mean) ** 2).sum()) + distance**2 * self.count * count / total
        self.mean += distance * count / total
        self.count = total

    @property
    def deviation(self) -> float:
        """Standard deviation with Bessel's correction; 0 below two values."""
        return 0.0 if self.count < 2 else (self.squares / (self.count - 1)) ** 0.5


def penalised(scores_B: Tensor, finished_B: Tensor, tokens_B: Tensor, config: PPOConfig) -> Tensor:
    """Scores less the penalties for responses that were cut off and for length, shape (B,).

    Args:
        scores_B: The reward model's probability of agreement.
        finished_B: Whether each response ended by itself.
        tokens_B: Tokens of each response.
        config: Its penalties are used.
    """
    cut_off = (~finished_B).to(scores_B.dtype)
    share = tokens_B.to(scores_B.dtype) / config.max_new_tokens
    return scores_B - config.missing_eos_penalty * cut_off - config.length_penalty * share


def shaped(rewards_B: Tensor, config: PPOConfig, moments: RunningMeanStd) -> Tensor:
    """Rewards normalised by the moments of all rewards so far, these included, and clipped, as configured.

    `moments` takes the rewards in, whether they are normalised or not. Rewards that have all been equal are only
    shifted.
    """
    moments.update(rewards_B)
    if config.normalise_reward:
        rewards_B = (rewards_B - moments.mean) / (moments.deviation or 1.0)
    if config.reward_clip is not None:
        rewards_B = rewards_B.clamp(-config.reward_clip, config.reward_clip)
    return rewards_B
