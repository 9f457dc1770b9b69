"""The judge as a reward: its verdict on each response, for prompts without a single right answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from retort.config.judge import JudgeConfig
from retort.config.rewards import JudgeRewardConfig
from retort.errors import ConfigError
from retort.io.tables import PROMPTS, VOTES, read_table
from retort.judge.ask import Judge, Pair, Single
from retort.judge.make import judge_engine
from retort.plugins import RewardContext, RewardType

if TYPE_CHECKING:
    from torch import Tensor


class JudgeReward:
    """Grades by the rubric, or compares with the elected response to the same prompt."""

    flops_per_token = 0.0

    def __init__(self, name: str, config: JudgeConfig, *, root: Path, state: Path, seed: int, undecided: float) -> None:
        """Say who judges; the judge starts with the first responses.

        Args:
            name: Name of the reward.
            config: Section `judge`.
            root: Folder that its paths start from.
            state: Folder where finished judgements are kept, so that none is asked twice.
            seed: Seed of the run.
            undecided: Reward where the judge does not decide.
        """
        self.name, self._config, self._undecided = name, config, undecided
        self._root, self._state, self._seed = root, state, seed
        self._judge: Judge | None = None
        self._engines = ExitStack()
        self.elected: Mapping[str, tuple[str, str | None]] = {}
        """Prompt id and elected response by the prompt's text."""

    def score(self, prompts: Sequence[str], responses: Sequence[str], finished: Sequence[bool]) -> Tensor:
        """Scores between 0 and 1, shape (N,); 0 for a response that was cut off."""
        import torch

        judge, places = self._started(), [place for place, end in enumerate(finished) if end]
        if self._config.method == "rubric":
            singles = [Single(self._id(prompts[p]), prompts[p], responses[p]) for p in places]
            found = [None if one is None else (one - 1) / (self._config.scale - 1) for one in judge.grade(singles)]
        else:
            places = [place for place in places if self.elected.get(prompts[place], ("", None))[1] is not None]
            pairs = [
                Pair(self._id(prompts[p]), prompts[p], responses[p], self.elected[prompts[p]][1] or "") for p in places
            ]
            found = judge.compare(pairs)
        scores = torch.tensor([self._undecided if end else 0.0 for end in finished])
        for place, one in zip(places, found, strict=True):
            scores[place] = self._undecided if one is None else one
        return scores

    def close(self) -> None:
        """End the judge's engine, if it was started."""
        self._engines.close()

    def _id(self, prompt: str) -> str:
        return self.elected.get(prompt, (prompt, None))[0]

    def _started(self) -> Judge:
        if self._judge is None:
            self._state.mkdir(parents=True, exist_ok=True)
            engine = self._engines.enter_context(judge_engine(self._config, self._root))
            self._judge = Judge(engine, self._config, self._state, seed=self._seed)
        return self._judge


def load(context: RewardContext) -> JudgeReward:
    """The judge with the elected responses of every prompt.

    Raises:
        ConfigError: the configuration names no judge.
        InputError: a table is missing or malformed.
    """
    if context.judge is None:
        raise ConfigError(f"rewards.{context.name}: type judge needs a judge: name one in the section judge.")
    reward = JudgeReward(
        context.name,
        context.judge,
        root=context.root,
        state=context.state / "reward",
        seed=context.seed,
        undecided=context.settings.undecided,
    )
    votes = {row["prompt_id"]: row["label"] for row in read_table(context.votes, VOTES) if not row["abstained"]}
    rows = [row for file in context.prompts.values() for row in read_table(file, PROMPTS)]
    reward.elected = {row["prompt"]: (row["prompt_id"], votes.get(row["prompt_id"])) for row in rows}
    return reward


REWARD = RewardType("judge", JudgeRewardConfig, load, votes=True, judge=True)
