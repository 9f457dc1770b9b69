"""A Python function of the project as a reward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from retort import plugins
from retort.config.rewards import FunctionRewardConfig
from retort.errors import TrainingError
from retort.plugins import RewardContext, RewardType

if TYPE_CHECKING:
    from torch import Tensor


class FunctionReward:
    """What a function returns."""

    flops_per_token = 0.0

    def __init__(self, name: str, place: str, function: Callable[..., Any]) -> None:
        """Name the reward and where its function is."""
        self.name, self._place, self._function = name, place, function

    def score(self, prompts: Sequence[str], responses: Sequence[str], finished: Sequence[bool]) -> Tensor:
        """The function's numbers, shape (N,).

        Raises:
            TrainingError: the function failed, or returned something else than numbers.
        """
        import torch

        try:
            scores = self._function(list(prompts), list(responses), list(finished))
            return torch.as_tensor(scores, dtype=torch.float32)
        except Exception as error:
            raise TrainingError(
                f"rewards.{self.name}: {self._place} failed on {len(responses)} responses ({type(error).__name__}: "
                f"{error}). The first is {responses[0]!r}."
            ) from error


def load(context: RewardContext) -> FunctionReward:
    """The function.

    Raises:
        ConfigError: its file does not import, or defines no such function.
    """
    place = context.settings.path
    with plugins.at(context.root):
        return FunctionReward(context.name, place, plugins.function(f"rewards.{context.name}.path", place))


def _sources(settings: FunctionRewardConfig) -> list[str]:
    return [settings.path.rpartition(":")[0]]


REWARD = RewardType("function", FunctionRewardConfig, load, sources=_sources)
