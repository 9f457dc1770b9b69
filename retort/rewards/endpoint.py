"""A reward model behind HTTP."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from retort.config.rewards import EndpointRewardConfig
from retort.errors import ConfigError, EngineError
from retort.plugins import RewardContext, RewardType

if TYPE_CHECKING:
    from torch import Tensor

_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
"""Answers that another attempt may mend."""


class EndpointReward:
    """What an endpoint answers: `{"scores": [...]}` to `{"prompts": [...], "responses": [...], "finished": [...]}`."""

    flops_per_token = 0.0

    def __init__(self, name: str, config: EndpointRewardConfig) -> None:
        """Name the reward and the endpoint; nothing is asked yet."""
        self.name, self._config = name, config

    def score(self, prompts: Sequence[str], responses: Sequence[str], finished: Sequence[bool]) -> Tensor:
        """The endpoint's numbers, shape (N,).

        Raises:
            ConfigError: the endpoint refuses the question, or the key's variable is not set.
            EngineError: it did not answer, or not with one number a response, after all attempts.
        """
        import torch

        size, found = self._config.batch_size, list[float]()
        for start in range(0, len(responses), size):
            part = slice(start, start + size)
            found += self._ask(list(prompts[part]), list(responses[part]), [bool(one) for one in finished[part]])
        return torch.tensor(found)

    def _ask(self, prompts: list[str], responses: list[str], finished: list[bool]) -> list[float]:
        import httpx2

        body = {"prompts": prompts, "responses": responses, "finished": finished}
        problem = ""
        for attempt in range(self._config.max_retries + 1):
            if attempt:
                time.sleep(min(30.0, 0.5 * 2 ** (attempt - 1)))
            try:
                answer = httpx2.post(
                    self._config.url, json=body, headers=self._headers(), timeout=self._config.timeout_s
                )
            except httpx2.HTTPError as error:
                problem = f"{type(error).__name__}: {error}"
                continue
            if answer.status_code == 200 and (scores := _scores(answer, len(responses))) is not None:
                return scores
            problem = f"answered {answer.status_code}: {answer.text[:200]!r}"
            if answer.status_code != 200 and answer.status_code not in _AGAIN:
                raise ConfigError(f"rewards.{self.name}.url: {self._config.url} {problem}")
        raise EngineError(
            f"rewards.{self.name}: {self._config.url} gave no {len(responses)} scores in "
            f'{self._config.max_retries + 1} attempts; the last {problem}. It must answer {{"scores": [...]}}, one '
            "number a response."
        )

    def _headers(self) -> dict[str, str]:
        name = self._config.api_key_env
        if name is None:
            return {}
        if not os.environ.get(name):
            raise ConfigError(f"rewards.{self.name}.api_key_env: the environment variable {name} is not set.")
        return {"Authorization": f"Bearer {os.environ[name]}"}


def _scores(answer: Any, count: int) -> list[float] | None:
    """The scores of an answer, if it holds one number a response."""
    try:
        scores = answer.json()["scores"]
        found = [float(score) for score in scores]
    except (ValueError, TypeError, KeyError):
        return None
    return found if len(found) == count else None


def load(context: RewardContext) -> EndpointReward:
    """The endpoint, not asked yet."""
    return EndpointReward(context.name, context.settings)


REWARD = RewardType("endpoint", EndpointRewardConfig, load)
