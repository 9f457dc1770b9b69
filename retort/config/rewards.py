"""Settings of the rewards that are not learned."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from retort.config.base import Strict


class VoteRewardConfig(Strict):
    """1 for a response whose answer agrees with its prompt's pseudo-label, 0 for another: no reward model."""

    unlabelled: float = 0.0
    """Reward of a response to a prompt whose vote abstained."""


class JudgeRewardConfig(Strict):
    """The judge's verdict: by rubric the grade's share of the scale, else 1, 0.5 or 0 against the elected response."""

    undecided: float = Field(0.5, ge=0, le=1)
    """Reward of a response on which the judge does not decide."""


class EndpointRewardConfig(Strict):
    """A reward model behind HTTP: POST {prompts, responses, finished} as JSON, answered by {scores}."""

    NOT_CONTENT: ClassVar[frozenset[str]] = frozenset({"url", "api_key_env", "timeout_s", "max_retries", "batch_size"})

    url: str
    """Address that scores are asked at."""
    model: str = ""
    """Name or version of what answers there; change it when the scores change, for the address decides nothing."""
    api_key_env: str | None = None
    """Environment variable with a bearer token."""
    timeout_s: float = Field(60.0, gt=0)
    """Seconds until one request is given up."""
    max_retries: int = Field(6, ge=0)
    """Attempts after the first, with exponential backoff, on refused connections, time-outs, 429 and 5xx."""
    batch_size: int = Field(128, ge=1)
    """Responses a request."""


class FunctionRewardConfig(Strict):
    """A Python function of the project: `score(prompts, responses, finished)`, which returns a number a response."""

    path: str = Field(pattern=r"^[^:]+\.py:[A-Za-z_]\w*$")
    """`my_reward.py:score`: the file, from the folder that the configuration's paths start from, and the function."""


class OwnVoteRewardConfig(Strict):
    """1 for a response that agrees with the majority of those to its prompt that are scored with it, 0 for another.

    Neither teacher nor reward model is asked (test-time reinforcement learning, Zuo et al. 2025, arXiv 2504.16084).
    """

    min_share: float = Field(0.0, ge=0, le=1)
    """Least share of those responses that the majority must have; below it, and on a tie, all of them get 0."""
