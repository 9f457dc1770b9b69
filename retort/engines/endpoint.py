"""The `openai` engine: any OpenAI-compatible endpoint, many requests under way at once.

The client of the `openai` package retries what may pass (408, 409, 429, 5xx, timeouts, lost connections) with
exponential backoff and jitter, and waits as long as a Retry-After header asks; this module bounds how many
requests are under way and says what to do when an endpoint refuses for good.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from retort.config.data import SamplingConfig
from retort.engines.base import Key, Request, Response, until
from retort.errors import ConfigError, EngineError, InputError
from retort.modeling.chat import messages_of
from retort.text.finish_reasons import finish_reason

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI
    from openai.types import Completion, CompletionUsage
    from openai.types.chat import ChatCompletion

_MOST_STOPS = 4
"""Stop texts that OpenAI's interface takes with a request."""


class _Said(NamedTuple):
    """What both kinds of completion say."""

    text: str
    finish_reason: str
    prompt_tokens: int
    response_tokens: int
    logprobs: list[float]
    """Of each token, where they were asked for and the endpoint gave them."""


class EndpointEngine:
    """Asks the chat completions of one endpoint, or its plain completions for text to continue."""

    parameters: int | None = None

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key_env: str | None = "OPENAI_API_KEY",
        concurrency: int = 32,
        max_retries: int = 6,
        timeout_s: float = 120.0,
        prices: tuple[float, float] = (0.0, 0.0),
        name: str | None = None,
    ) -> None:
        """Say which endpoint; nothing is sent yet.

        Args:
            base_url: Address, ending in /v1.
            model: Name of the model there.
            api_key_env: Environment variable with the key; None for a server that needs none.
            concurrency: Requests under way at once.
            max_retries: Attempts after the first.
            timeout_s: Seconds until one attempt is given up.
            prices: Price of a million prompt tokens and of a million response tokens.
            name: Name of the model in tables, where it differs from `model`.
        """
        self.model, self.prices = name or model, prices
        self._asked_for, self._base_url, self._api_key_env = model, base_url, api_key_env
        self._concurrency, self._max_retries, self._timeout_s = concurrency, max_retries, timeout_s
        self._limit_field, self._sends_stop = "max_tokens", True
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: AsyncOpenAI | None = None

    def __enter__(self) -> Self:
        """Open the client.

        Raises:
            ConfigError: the environment variable with the key is not set.
        """
        from openai import AsyncOpenAI

        key = "none"
        if self._api_key_env is not None:
            key = os.environ.get(self._api_key_env, "")
            if not key:
                raise ConfigError(
                    f"environment variable {self._api_key_env} is not set: it must hold the key for {self._base_url}. "
                    "Set it (to any word for a server that needs no key), or name another one as teacher.api_key_env."
                )
        self._loop = asyncio.new_event_loop()
        self._client = AsyncOpenAI(
            base_url=self._base_url, api_key=key, max_retries=self._max_retries, timeout=self._timeout_s
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        if self._loop is not None and self._client is not None:
            self._loop.run_until_complete(self._client.close())
            self._loop.close()
        self._loop = self._client = None

    def count(self, requests: Sequence[Request]) -> int:
        """One response a request."""
        return len(requests)

    def generate(
        self, requests: Sequence[Request], sampling: SamplingConfig, done: Collection[Key] = ()
    ) -> Iterator[list[Response]]:
        """Ask for every request that is not done; see `Engine.generate`. Yields responses as they arrive."""
        assert self._loop is not None, "the engine is used in a with block"
        waiting = iter([request for request in requests if request.key not in done])
        under_way: set[asyncio.Task[Response]] = set()
        try:
            while True:
                while len(under_way) < self._concurrency and (request := next(waiting, None)) is not None:
                    under_way.add(self._loop.create_task(self._ask(request, sampling)))
                if not under_way:
                    return
                arrived, under_way = self._loop.run_until_complete(
                    asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                )
                # Good responses first: one that failed must not take those beside it along.
                good = [task.result() for task in arrived if task.exception() is None]
                if good:
                    yield good
                for task in arrived:
                    task.result()
        finally:
            for task in under_way:
                task.cancel()
            if under_way:
                self._loop.run_until_complete(asyncio.wait(under_way))

    async def _ask(self, request: Request, sampling: SamplingConfig) -> Response:
        from openai import APIConnectionError, APIStatusError, BadRequestError

        try:
            while True:
                sent = self._limit_field, self._sends_stop
                try:
                    said = await self._create(request, sampling)
                    break
                except BadRequestError as error:
                    self._adapt(str(error))
                    # Another request may have learnt it while this one was under way.
                    if sent == (self._limit_field, self._sends_stop):
                        raise
        except APIConnectionError as error:
            raise EngineError(
                f"{self._base_url}: no answer after {self._max_retries + 1} attempts ({error}). Check the address and "
                "that the server runs; run the stage again to go on with what is missing."
            ) from error
        except APIStatusError as error:
            raise self._explained(error, request) from error
        return self._response(request, said)

    def _adapt(self, problem: str) -> None:
        """Change what is sent after a refusal, where that is known to help."""
        if "max_completion_tokens" in problem:
            # OpenAI's newer models know the limit only under its newer name, other servers only the older one.
            self._limit_field = "max_completion_tokens"
        if "'stop'" in problem:
            # Its reasoning models refuse stop texts; responses are cut at them here anyway.
            self._sends_stop = False

    async def _create(self, request: Request, sampling: SamplingConfig) -> _Said | None:
        assert self._client is not None, "the engine is used in a with block"
        settings: dict[str, Any] = {
            "model": self._asked_for,
            "temperature": request.temperature,
            "top_p": sampling.top_p,
            "seed": request.seed,
        }
        if request.stop and self._sends_stop:
            settings["stop"] = list(request.stop[:_MOST_STOPS])
        if request.form == "text":
            if sampling.logprobs:
                settings["logprobs"] = 1
            text: Completion = await self._client.completions.create(
                prompt=request.prompt, max_tokens=sampling.max_new_tokens, **settings
            )
            tokens = [one.logprobs.token_logprobs if one.logprobs else None for one in text.choices]
            said = [(one.text, one.finish_reason) for one in text.choices]
            return _said(said, text.usage, tokens[0] if tokens else None)
        messages: list[Any] = messages_of(request.prompt, request.form)
        settings[self._limit_field] = sampling.max_new_tokens
        if sampling.logprobs:
            settings["logprobs"] = True
        chat: ChatCompletion = await self._client.chat.completions.create(messages=messages, **settings)
        told = chat.choices[0].logprobs if chat.choices else None
        scores = [token.logprob for token in told.content] if told and told.content else None
        return _said([(one.message.content, one.finish_reason) for one in chat.choices], chat.usage, scores)

    def _response(self, request: Request, said: _Said | None) -> Response:
        if said is None:
            raise EngineError(f"{self._base_url}: answered prompt {request.prompt_id!r} without choices. Run it again.")
        text, stopped = until(said.text, request.stop)
        return Response(
            prompt_id=request.prompt_id,
            sample=request.sample,
            model=self.model,
            temperature=request.temperature,
            seed=request.seed,
            response=text,
            finish_reason="stop" if stopped else said.finish_reason,
            prompt_tokens=said.prompt_tokens,
            response_tokens=said.response_tokens,
            mean_logprob=sum(said.logprobs) / len(said.logprobs) if said.logprobs else None,
        )

    def _explained(self, error: APIStatusError, request: Request) -> Exception:
        status, said = error.status_code, error.response.text[:500].strip() or error.message
        if status in (401, 403):
            return ConfigError(
                f"{self._base_url}: refuses the key in {self._api_key_env} ({said}). Put a valid one there."
            )
        if status == 404:
            return ConfigError(
                f"{self._base_url}: does not know model {self._asked_for!r} or the path ({said}). The address must end "
                "in /v1, and teacher.model must be a name that GET /v1/models lists."
            )
        if status in (400, 413, 422):
            return InputError(
                f"the endpoint {self._base_url} refuses prompt {request.prompt_id!r} with status {status} ({said})",
                file="outputs/prompts",
                field="prompt",
                remedy="If it names the length: shorten or remove the prompt, or lower max_new_tokens. If it names "
                f"the model {self._asked_for!r} or a setting: correct that in the configuration",
            )
        return EngineError(
            f"{self._base_url}: status {status} after {self._max_retries + 1} attempts ({said}). Lower "
            "teacher.concurrency or wait; run the stage again to go on with what is missing."
        )


def _said(
    choices: Sequence[tuple[str | None, str | None]],
    usage: CompletionUsage | None,
    logprobs: Sequence[float | None] | None,
) -> _Said | None:
    if not choices:
        return None
    text, reason = choices[0]
    tokens = (usage.prompt_tokens, usage.completion_tokens) if usage else (0, 0)
    return _Said(text or "", finish_reason(reason), *tokens, [one for one in logprobs or () if one is not None])
