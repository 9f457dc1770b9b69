"""The vote as a reward: 1 where a response's answer agrees with its prompt's pseudo-label: RLVR without gold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from retort.config.data import AnswerType
from retort.config.rewards import VoteRewardConfig
from retort.errors import ConfigError
from retort.io.tables import PROMPTS, VOTES, read_table
from retort.plugins import RewardContext, RewardType
from retort.text.equal import same_answer
from retort.text.extract import read_answer

if TYPE_CHECKING:
    from torch import Tensor


class VoteReward:
    """Agreement with the vote."""

    flops_per_token = 0.0

    def __init__(self, name: str, labels: dict[str, str | None], kind: AnswerType, unlabelled: float) -> None:
        """Say what agrees.

        Args:
            name: Name of the reward.
            labels: Pseudo-label by the prompt's text; None where the vote abstained.
            kind: Kind of answer.
            unlabelled: Reward where there is no label.
        """
        self.name, self._labels, self._kind, self._unlabelled = name, labels, kind, unlabelled

    def score(self, prompts: Sequence[str], responses: Sequence[str], finished: Sequence[bool]) -> Tensor:
        """1 for each response that ended by itself with the label, 0 for others, shape (N,)."""
        import torch

        return torch.tensor([self._one(*row) for row in zip(prompts, responses, finished, strict=True)])

    def _one(self, prompt: str, response: str, finished: bool) -> float:
        label = self._labels.get(prompt)
        if label is None:
            return self._unlabelled
        answer = read_answer(response, self._kind) if finished else None
        return float(answer is not None and same_answer(answer.value, label, self._kind))


def load(context: RewardContext) -> VoteReward:
    """The vote's labels of every prompt.

    Raises:
        ConfigError: prompts are open-ended: no answer can be read there.
        InputError: a table is missing or malformed.
    """
    if context.answer == "open":
        raise ConfigError(f"rewards.{context.name}: open-ended prompts have no answer to vote on; use type: judge.")
    votes = {row["prompt_id"]: row["label"] for row in read_table(context.votes, VOTES) if not row["abstained"]}
    rows = [row for file in context.prompts.values() for row in read_table(file, PROMPTS)]
    labels = {row["prompt"]: votes.get(row["prompt_id"]) for row in rows}
    return VoteReward(context.name, labels, context.answer, context.settings.unlabelled)  # type: ignore[arg-type]


REWARD = RewardType("vote", VoteRewardConfig, load, votes=True)
