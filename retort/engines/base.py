"""The interface of generation engines: requests in, responses out in batches, whoever answers them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

from retort.config.data import SamplingConfig
from retort.modeling.chat import Form

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from retort.engines.sampler import Sample

Key = tuple[str, int]
"""Prompt id and number of the response: what names a response within a stage."""


@dataclass(frozen=True)
class Request:
    """One response that is wanted."""

    prompt_id: str
    prompt: str
    """What is answered, without chat formatting; `form` says how it is read."""
    sample: int
    """Number of the response among those to its prompt, over all temperatures."""
    temperature: float
    """0 is greedy."""
    seed: int
    """Seed to draw it with: 31 bits, which every server accepts."""
    form: Form = "message"
    stop: tuple[str, ...] = ()
    """Texts before which the response ends, beside the model's own end token."""
    number: int | None = None
    """Number of the response among those at this temperature, where `sample` counts over several."""
    draw: int = 0
    """Seed of the run, or whatever else says that a new draw is wanted: what is asked again with the same one may be
    answered from the cache."""

    @property
    def key(self) -> Key:
        """What names the response."""
        return self.prompt_id, self.sample


REFUSED = "refused"
"""Finish reason of a response that stands for a request which a policy refused: it has no text."""
TOO_LONG = "prompt_too_long"
"""Finish reason of a response that stands for a request whose prompt an endpoint refuses for its length."""
NO_COMPLETION = "no_completion"
"""Finish reason of a response that stands for a request which was answered, at every attempt, with no completion."""
NOT_KEPT = (REFUSED, TOO_LONG, NO_COMPLETION)
"""Finish reasons of what stands for a request without a response: the next attempt asks again."""


@dataclass(frozen=True)
class Response:
    """One response; the fields are those of `retort.io.tables.RESPONSES` but for `source`."""

    prompt_id: str
    sample: int
    model: str
    temperature: float
    seed: int
    response: str
    finish_reason: str
    prompt_tokens: int
    response_tokens: int
    mean_logprob: float | None = None
    """Mean natural log-probability of its tokens, at the temperature that the engine scores them at (`transformers` and
    `vllm`: the sampling temperature; OpenAI: 1); None where not asked for or not known."""
    reasoning: str | None = None
    """Reasoning before the response, with the model's tags and the white space after them; None where there is none."""

    @property
    def key(self) -> Key:
        """What names the response."""
        return self.prompt_id, self.sample

    def row(self, source: str) -> dict[str, Any]:
        """Its row in a table of responses."""
        return asdict(self) | {"source": source}


class Engine(Protocol):
    """Answers requests. Used in a `with` block, which starts and ends what it needs (a server, connections).

    One whose responses are to be kept in the object store, by what was asked, has `store` and `asked` as well
    (`retort.engines.response_cache.Remembering`); one that may spend no more than so much, `spent`.
    """

    model: str
    """Name of the model in tables."""
    parameters: int | None
    """Parameters of a model that runs in this process; None where they are not known."""

    def count(self, requests: Sequence[Request]) -> int:
        """How many responses `generate` gives to `requests`."""
        ...

    def generate(
        self, requests: Sequence[Request], sampling: SamplingConfig, done: Collection[Key] = ()
    ) -> Iterator[list[Response]]:
        """Answer `requests`, a batch at a time, in an order of the engine's own.

        Args:
            requests: All requests of the task, whether answered before or not: batches are planned over all of
                them, so that a resumed task forms the batches of an uninterrupted one.
            sampling: Nucleus, token limit and batch size; temperatures and samples are in the requests.
            done: Responses that exist already. A batch that is only partly done is answered whole again.

        Raises:
            InputError: a prompt is too long or the engine refuses it.
            EngineError: the engine failed after its own retries; what was yielded stands.
        """
        ...

    def __enter__(self) -> Self:
        """Start what the engine needs."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it, whatever happened."""
        ...


class Rollouts(Protocol):
    """Samples from a model in training whose weights it does not share, so that it is given them after each update.

    Nothing runs before the first call of `load`, which every other one comes after.
    """

    max_difference: float
    """Mean difference in nats a token from the trainer's log-probabilities that rounding does not explain."""

    def load(self, write: Callable[[Path], None]) -> None:
        """Sample from other weights from now on, and from nothing that was computed with those before.

        Args:
            write: Writes them into the folder that it is given, which exists.

        Raises:
            EngineError: they could not be loaded.
        """
        ...

    def sample(
        self, prompts: Sequence[Sequence[int]], seeds: Sequence[int], *, temperature: float, max_new_tokens: int
    ) -> list[Sample]:
        """One response to each of `prompts`, which depends on its seed and, rounding apart, on nothing else.

        Raises:
            EngineError: the engine failed.
        """
        ...

    def close(self) -> None:
        """End what was started."""
        ...


Pair = tuple[Sequence[int], Sequence[int]]
"""Tokens of a context, none empty, and of what follows it."""


@runtime_checkable
class ScoringEngine(Engine, Protocol):
    """An engine that also says how probable given texts are, by the tokens of a tokenizer that it has."""

    tokenizer: PreTrainedTokenizerFast
    context: int
    """Longest sequence in tokens whose every token but the last is read."""

    def log_likelihoods(self, pairs: Sequence[Pair], *, batch_size: int) -> list[tuple[float, bool]]:
        """Log-probability of each continuation after its context.

        Args:
            pairs: Tokens of contexts and continuations.
            batch_size: Rows at once, for engines that run here.

        Returns:
            For each pair the sum of its continuation's log-probabilities in nats, and whether every token of it is the
            most probable one.

        Raises:
            EngineError: the engine failed.
        """
        ...


def until(text: str, stop: Collection[str]) -> tuple[str, bool]:
    """The text before the first of the texts to stop at, and whether there was one."""
    ends = [place for one in stop if (place := text.find(one)) >= 0]
    return (text[: min(ends)], True) if ends else (text, False)


def derived_seed(*parts: object) -> int:
    """A 31-bit seed that depends on all `parts` and on nothing else."""
    text = "\0".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


def plan_requests(
    prompts: Sequence[dict[str, Any]], sampling: SamplingConfig, *, seed: int, stage: str
) -> list[Request]:
    """Every request of a task: all prompts, at each temperature `sampling.samples` times.

    Args:
        prompts: Rows of `retort.io.tables.PROMPTS`.
        sampling: Temperatures and samples of each.
        seed: Seed of the run.
        stage: Name of the stage, so that two stages draw differently.
    """
    temperatures = sampling.temperatures
    before = [temperatures[:place].count(temperature) for place, temperature in enumerate(temperatures)]
    return [
        Request(
            prompt_id=row["prompt_id"],
            prompt=row["prompt"],
            sample=place * sampling.samples + number,
            temperature=temperature,
            seed=derived_seed(seed, stage, row["prompt_id"], place * sampling.samples + number),
            # A temperature that is given twice goes on counting, or the cache would take its samples for one.
            number=before[place] * sampling.samples + number,
            draw=seed,
        )
        for row in prompts
        for place, temperature in enumerate(temperatures)
        for number in range(sampling.samples)
    ]
