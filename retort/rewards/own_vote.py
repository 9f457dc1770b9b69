"""The majority of a student's own responses as a reward: test-time reinforcement learning (Zuo et al. 2025, §2)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from retort.config.data import AnswerType
from retort.config.rewards import OwnVoteRewardConfig
from retort.errors import ConfigError, TrainingError
from retort.plugins import RewardContext, RewardType
from retort.text.agreement import Stated, stated
from retort.votes.majority import majority_vote

if TYPE_CHECKING:
    from torch import Tensor


class OwnVoteReward:
    """Agreement with the majority of the responses that are scored together."""

    flops_per_token = 0.0
    grouped = True
    """All responses to a prompt must be scored in one call."""

    def __init__(self, name: str, kind: AnswerType, min_share: float) -> None:
        """Say what agrees.

        Args:
            name: Name of the reward.
            kind: Kind of answer.
            min_share: Least share of the responses to a prompt that the majority needs.
        """
        self.name, self._kind, self._min_share = name, kind, min_share

    def score(self, prompts: Sequence[str], responses: Sequence[str], finished: Sequence[bool]) -> Tensor:
        """1 for each response that ended by itself with the majority's answer, 0 for others, shape (N,).

        Responses that were cut off or state no answer count among those that the majority is a share of.

        Raises:
            TrainingError: a prompt has one response alone, which would always agree with itself.
        """
        import torch

        found = [
            stated(text, self._kind) if end else Stated(None, self._kind)
            for text, end in zip(responses, finished, strict=True)
        ]
        groups: dict[str, list[int]] = defaultdict(list)
        for place, prompt in enumerate(prompts):
            groups[prompt].append(place)
        scores = torch.zeros(len(prompts))
        for prompt, places in groups.items():
            if len(places) == 1:
                raise TrainingError(
                    f"rewards.{self.name}: one response alone to the prompt {prompt!r} is no majority. Sample several "
                    "to each prompt (responses_per_prompt, or samples)."
                )
            vote = majority_vote([found[place].value for place in places], self._kind, min_share=self._min_share)
            if vote.label is not None:
                for place in places:
                    scores[place] = float(found[place].agrees(vote.label))
        return scores


def load(context: RewardContext) -> OwnVoteReward:
    """Nothing to load.

    Raises:
        ConfigError: prompts are open-ended: no answer can be read there.
    """
    if context.answer == "open":
        raise ConfigError(f"rewards.{context.name}: open-ended prompts have no answer to vote on; use type: judge.")
    return OwnVoteReward(context.name, context.answer, context.settings.min_share)  # type: ignore[arg-type]


REWARD = RewardType("own_vote", OwnVoteRewardConfig, load)
