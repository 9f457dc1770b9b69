"""An engine that samples several responses and answers with the one that a reward likes best."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from retort.config.data import SamplingConfig
from retort.engines.base import Engine, Key, Request, Response, derived_seed
from retort.errors import ConfigError
from retort.plugins import Reward
from retort.text.finish_reasons import is_whole
from retort.trainers.shared.scores import checked_scores


class BestOf:
    """Asks another engine `n` times for each request.

    A response's tokens are those of all its candidates, prompts included: that is what it took.

    Args:
        inner: What answers.
        load: Loads the reward.
        n: Candidates for each request.
        temperature: Their sampling temperature.
    """

    def __init__(self, inner: Engine, load: Callable[[], Reward], *, n: int, temperature: float) -> None:
        self.model = inner.model
        self.parameters = inner.parameters
        self._inner, self._load, self._n, self._temperature = inner, load, n, temperature
        self._reward: Any = None

    def count(self, requests: Sequence[Request]) -> int:
        """One response a request."""
        return len(requests)

    def generate(
        self, requests: Sequence[Request], sampling: SamplingConfig, done: Collection[Key] = ()
    ) -> Iterator[list[Response]]:
        """Answer `requests`; see `Engine.generate`.

        Raises:
            ConfigError: a request is no message of a user's, which is what rewards judge responses to.
            TrainingError: a reward is not a finite number.
        """
        wanted = {(one.prompt_id, one.sample): one for one in requests}
        for one in requests:
            if one.form != "message" and not getattr(self._reward, "grouped", False):
                raise ConfigError(
                    f"rewards.{self._reward.name}: cannot judge a response to {one.prompt_id!r}, which is a {one.form} "
                    "and no user's message. Evaluate this student on held-out prompts alone, or answer by own_vote."
                )
        candidates = [self._candidate(one, number) for one in requests for number in range(self._n)]
        known = {one.key for one in candidates if (one.prompt_id, one.sample // self._n) in done}
        waiting: dict[Key, list[Response]] = defaultdict(list)
        for batch in self._inner.generate(candidates, sampling, known):
            for response in batch:
                waiting[response.prompt_id, response.sample // self._n].append(response)
            whole = [key for key, found in waiting.items() if len(found) == self._n]
            if whole:
                yield self._best([(wanted[key], waiting.pop(key)) for key in whole])

    def _candidate(self, request: Request, number: int) -> Request:
        return replace(
            request,
            sample=request.sample * self._n + number,
            temperature=self._temperature,
            seed=derived_seed(request.seed, "candidate", number),
            number=None,
        )

    def _best(self, groups: Sequence[tuple[Request, list[Response]]]) -> list[Response]:
        """The candidate of each request with the highest reward, of equal ones the first."""
        every = [one for _, found in groups for one in sorted(found, key=lambda one: one.sample)]
        prompts = [request.prompt for request, found in groups for _ in found]
        texts = [one.response for one in every]
        given = self._reward.score(prompts, texts, [is_whole(one.finish_reason) for one in every])
        scores = checked_scores(given, self._reward.name, prompts, texts).tolist()
        answers = []
        for place, (request, _) in enumerate(groups):
            first = place * self._n
            chosen = max(range(first, first + self._n), key=lambda one: (scores[one], -one))
            mine = every[first : first + self._n]
            answers.append(
                replace(
                    every[chosen],
                    sample=request.sample,
                    seed=request.seed,
                    temperature=request.temperature,
                    prompt_tokens=sum(one.prompt_tokens for one in mine),
                    response_tokens=sum(one.response_tokens for one in mine),
                )
            )
        return answers

    def __enter__(self) -> Self:
        """Start the engine and load the reward."""
        self._inner.__enter__()
        self._reward = self._load()
        if self.parameters is not None:
            # The cost of a token is told as 2 x parameters: scoring it is part of that.
            self.parameters += round(self._reward.flops_per_token / 2)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End both."""
        if callable(close := getattr(self._reward, "close", None)):
            close()
        self._inner.__exit__(kind, error, trace)
